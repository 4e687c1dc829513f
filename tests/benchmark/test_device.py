import dataclasses
import os

import numpy as np
import pytest

from mobileyolact.benchmark import device as module
from mobileyolact.benchmark.device import Device, describe_device


def test_this_machine() -> None:
    device = describe_device()
    assert device.cpu
    assert 1 <= device.cores <= (os.cpu_count() or 1)
    assert device.versions["numpy"] == np.__version__
    assert {"onnxruntime", "ncnn", "mobileyolact"} <= set(device.versions)
    text = str(device)
    assert device.cpu in text
    assert f"numpy {np.__version__}" in text
    assert "\n" not in text


def test_what_linux_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"model name": "Some CPU", "flags": "fpu avx2 avx512_vnni sse"}
    monkeypatch.setattr(module, "_processor_info", lambda: facts)
    device = describe_device()
    assert device.cpu == "Some CPU"
    assert device.instructions == ("avx2", "avx512_vnni")
    monkeypatch.setattr(module, "_processor_info", lambda: {"Features": "fp asimddp i8mm"})
    assert describe_device().instructions == ("asimddp", "i8mm")


@pytest.mark.parametrize(("load", "busy"), [(None, False), (0.3, False), (0.31, True)])
def test_busy_above_a_load_of_0_3(load: float | None, busy: bool) -> None:
    device = Device("cpu", 1, (), "os", "3.12", {}, None)
    device = dataclasses.replace(device, load=load)
    assert device.busy is busy
    assert ("load" in str(device)) is (load is not None)
