import io

from rich.console import Console

from mobileyolact.train.progress import TrainingProgress


def test_elsewhere_than_on_a_terminal_a_line_now_and_then() -> None:
    out = io.StringIO()
    now = [0.0]
    console = Console(file=out, width=40)
    with TrainingProgress(100, 0, console, clock=lambda: now[0]) as progress:
        for done in range(1, 101):
            now[0] += 1.0
            progress.update(done, {"loss": 2.0, "box": 1.0}, 8.0)
    lines = out.getvalue().splitlines()
    assert lines == [
        "iteration 30/100  loss 2.000 box 1.000  8.0 images/s  1:10 left",
        "iteration 60/100  loss 2.000 box 1.000  8.0 images/s  0:40 left",
        "iteration 90/100  loss 2.000 box 1.000  8.0 images/s  0:10 left",
        "iteration 100/100  loss 2.000 box 1.000  8.0 images/s  0:00 left",
    ]


def test_time_left_counts_this_sitting_alone() -> None:
    out = io.StringIO()
    now = [0.0]
    with TrainingProgress(1000, 900, Console(file=out), clock=lambda: now[0]) as progress:
        now[0] = 7200.0
        progress.update(950, {"loss": 1.0}, 1.0)
    assert "2:00:00 left" in out.getvalue()


def test_losses_are_smoothed() -> None:
    out = io.StringIO()
    with TrainingProgress(3, 0, Console(file=out)) as progress:
        for done, loss in enumerate((1.0, 1.0, 2.0), 1):
            progress.update(done, {"loss": loss}, 1.0)
    assert "loss 1.050" in out.getvalue()


def test_a_terminal_gets_a_bar_with_messages_above() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with TrainingProgress(10, 0, console) as progress:
        progress.say("[not markup] going on")
        progress.update(4, {"loss": 1.5}, 12.0)
    text = out.getvalue()
    assert "[not markup] going on" in text
    assert "4/10" in text
    assert "loss 1.500  12.0 images/s" in text
