import os
import signal
import threading

import pytest

from mobileyolact.stopping import StopSignals, TrainingStopped


def test_the_first_signal_is_kept_and_the_second_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_of_the_main_thread_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def body() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


def test_exit_codes_are_those_of_a_shell() -> None:
    assert TrainingStopped("", signal.SIGINT).exit_code == 130
    assert TrainingStopped("", signal.SIGTERM).exit_code == 143
