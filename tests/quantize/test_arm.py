"""Model files on Arm, emulated, and the comparison of what they compute there and here."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.ncnn import write_ncnn
from mobileyolact.export.ncnn_int8 import requantized_convs, write_ncnn_int8
from mobileyolact.export.onnx import write_onnx
from mobileyolact.export.onnx_int8 import write_onnx_int8
from mobileyolact.export.onnx_small import write_onnx_small
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.preprocess import preprocess

SCRIPTS = Path(__file__).parents[2] / "scripts"
Network = tuple[Graph, ModelContract]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


@pytest.fixture(params=["n-320", "s-320"])
def network(request: pytest.FixtureRequest, make_network: Any) -> Network:
    """LeakyReLU and ReLU6, depthwise convolutions with and without a multiple of 8 channels."""
    network, contract = make_network(request.param, size=96)
    return build_graph(network, contract), contract


def quantize(network: Network, picture: Any, *, depthwise: bool) -> QuantizedLayers:
    """A record whose ranges are a bit less than what the tensors hold for ``picture``."""
    graph, contract = network
    ranges: dict[str, tuple[float, float]] = {}

    def see(name: str, value: Any) -> Any:
        ranges[name] = 0.8 * min(0.0, float(value.min())), 0.8 * max(0.0, float(value.max()))
        return value

    with torch.inference_mode():
        image = torch.from_numpy(preprocess(picture, contract)[0])
        execute(graph, image, stored_weights(graph), see)
    kept = [x.name for x in graph.layers if isinstance(x, Conv) and x.groups > 1]
    convs = choose_convs(graph, "full", () if depthwise else kept)
    return quantize_layers(graph, convs, ranges, Quantization("full", "ptq"))


@pytest.mark.slow
def test_files_compute_on_arm_what_they_compute_here(
    load: Callable[[str], ModuleType],
    network: Network,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arm = load("arm")
    cache = tmp_path_factory.getbasetemp() / "arm"  # one for both networks
    files = [tmp_path / f"net{x}" for x in (".onnx", ".int8.onnx", ".small.onnx", ".ncnn.param")]
    files += [tmp_path / f"{x}.int8.ncnn.param" for x in ("dense", "all")]
    every, dense = (quantize(network, arm.read_picture(None), depthwise=x) for x in (True, False))
    write_onnx(*network, files[0])
    write_onnx_int8(network[0], every, network[1], files[1])
    write_onnx_small(*network, files[2])
    write_ncnn(*network, files[3])
    write_ncnn_int8(network[0], dense, network[1], files[4])
    write_ncnn_int8(network[0], every, network[1], files[5])
    monkeypatch.setattr("sys.argv", ["arm.py", *map(str, files), "--cache", str(cache)])
    code = arm.main()
    out, err = capsys.readouterr()
    if code == 2:
        pytest.skip(err.strip())
    print(out)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("aarch64: onnxruntime")
    assert sum(line.endswith("ok") for line in lines) == len(files)


@pytest.fixture
def at_home(load: Callable[[str], ModuleType], tmp_path: Path) -> Callable[..., list[Any]]:
    """The rows of a file when Arm is this processor, too, but for what ``spoil`` does to tensors."""
    arm = load("arm")

    def examine(path: Path, spoil: Callable[[Any], None] = lambda arrays: None) -> list[Any]:
        work = tmp_path / "work"
        work.mkdir()
        here = arm.runner(arm.HERE, work)

        def there(jobs: list[Any]) -> Any:
            results = here(jobs)
            for arrays in results:
                spoil(arrays)
            return results

        rows: list[Any] = arm.examine(path, arm.read_picture(None), work, there, here)
        assert arm.table(rows).count("BREACH") == sum(row.breach for row in rows)
        return rows

    return examine


@pytest.fixture
def small(
    load: Callable[[str], ModuleType], make_network: Any
) -> tuple[Network, Callable[[bool], QuantizedLayers]]:
    """n-320 at 64 pixels, and what makes a record of it, with or without depthwise ones."""
    network, contract = make_network("n-320", size=64)
    one = build_graph(network, contract), contract
    picture = load("arm").read_picture(None)
    return one, lambda depthwise: quantize(one, picture, depthwise=depthwise)


def scale(name: str, factor: float) -> Callable[[Any], None]:
    def spoil(arrays: Any) -> None:
        arrays[name] = arrays[name] * np.float32(factor)

    return spoil


def shift_one(name: str) -> Callable[[Any], None]:
    """Changes a single code, one that is not at an end of the range."""

    def spoil(arrays: Any) -> None:
        if name in arrays:
            codes = arrays[name].ravel().copy()
            middle = np.abs(codes.astype(int) - int(np.median(codes))).argmin()
            codes[middle] += 1
            arrays[name] = codes.reshape(arrays[name].shape)

    return spoil


def test_a_float_file(small: Any, at_home: Callable[..., list[Any]], tmp_path: Path) -> None:
    write_onnx(*small[0], tmp_path / "net.onnx")
    (row,) = at_home(tmp_path / "net.onnx")
    assert row.bounded
    assert not row.breach
    assert row.decibels == (np.inf,) * 4


@pytest.mark.parametrize(("factor", "breach"), [(1.00002, True), (1.000005, False), (np.nan, True)])
def test_a_float_output_that_differs(
    factor: float, breach: bool, small: Any, at_home: Callable[..., list[Any]], tmp_path: Path
) -> None:
    write_onnx(*small[0], tmp_path / "net.onnx")
    (row,) = at_home(tmp_path / "net.onnx", scale("boxes", factor))
    assert row.breach == breach


def test_an_int8_onnx_file(small: Any, at_home: Callable[..., list[Any]], tmp_path: Path) -> None:
    (graph, contract), record = small
    write_onnx_int8(graph, record(True), contract, tmp_path / "net.int8.onnx")
    whole, layers = at_home(tmp_path / "net.int8.onnx")
    assert not whole.bounded
    assert not layers.breach
    assert layers.agreement.compared > 1e5
    assert layers.agreement.wrong == 0


# One that is rounded from floats, one of an integer convolution, and one that is only moved.
@pytest.mark.parametrize(
    "name", ["neck.up", "neck.reduce.0.linear", "neck.reduce.0", "neck.top_down.0.concat"]
)
def test_one_other_code_in_onnx_is_a_breach(
    name: str, small: Any, at_home: Callable[..., list[Any]], tmp_path: Path
) -> None:
    (graph, contract), record = small
    write_onnx_int8(graph, record(True), contract, tmp_path / "net.int8.onnx")
    *_, layers = at_home(tmp_path / "net.int8.onnx", shift_one(f"{name}.codes"))
    assert layers.breach
    assert layers.agreement.wrong >= 1


# Depthwise ones are left in float: here they take another reciprocal than on Arm.
def test_an_int8_ncnn_file(small: Any, at_home: Callable[..., list[Any]], tmp_path: Path) -> None:
    (graph, contract), record = small
    write_ncnn_int8(graph, record(False), contract, tmp_path / "net.int8.ncnn.param")
    *rows, layers = at_home(tmp_path / "net.int8.ncnn.param")
    assert not any(row.bounded for row in rows)
    assert not layers.breach
    assert layers.agreement.compared > 5e4
    assert layers.agreement.wrong == 0
    assert layers.agreement.ties <= 1e-4 * layers.agreement.compared


def test_another_value_in_ncnn_is_a_breach(
    small: Any, at_home: Callable[..., list[Any]], tmp_path: Path
) -> None:
    (graph, contract), record = small
    quantized = record(False)
    write_ncnn_int8(graph, quantized, contract, tmp_path / "net.int8.ncnn.param")
    requantized = requantized_convs(graph, quantized.convs)
    coded = next(x.outputs[0] for x in graph.layers if x.name in requantized)
    *_, layers = at_home(tmp_path / "net.int8.ncnn.param", shift_one(coded))
    assert layers.agreement.wrong >= 1


def test_a_reason_where_there_can_be_no_arm_machine(
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["arm.py", "net.onnx", "--cache", str(tmp_path / "cache")])
    assert load("arm").main() == 2
    assert capsys.readouterr().err.startswith("no Arm machine: ")
