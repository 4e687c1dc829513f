"""Model files on Arm, emulated, and the comparison of what they compute there and here."""

import importlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.export.graph import Activation, Conv, Graph, Pads
from mobileyolact.export.ncnn import write_ncnn
from mobileyolact.export.ncnn_int8 import Int8Writer, write_ncnn_int8
from mobileyolact.export.onnx import write_onnx
from mobileyolact.export.onnx_int8 import write_onnx_int8
from mobileyolact.export.onnx_small import write_onnx_small
from mobileyolact.export.quantized import Codes, QuantizedLayers, quantize_kernel
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.engines.ncnn import convolve
from mobileyolact.quantize.engines.onnx import emulate_sum, emulate_sum_on_arm
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
    """The rows of a file if Arm is this processor, too, but for what ``spoil`` does to tensors."""
    arm, inside = load("arm"), load("arm_inside")

    def examine(path: Path, spoil: Callable[[Any], None] = lambda arrays: None) -> list[Any]:
        work = tmp_path / "work"
        work.mkdir()

        def here(jobs: list[Any]) -> list[Any]:
            return [inside.compute(job) for job in jobs]

        def there(jobs: list[Any]) -> list[Any]:
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


def shift_one(arrays: Any, name: str) -> Any:
    """The same tensors with a single code of ``name`` changed, one from inside the range."""
    codes = arrays[name].ravel().copy()
    codes[np.abs(codes.astype(int) - int(np.median(codes))).argmin()] += 1
    return {**arrays, name: codes.reshape(arrays[name].shape)}


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


def test_an_int8_onnx_file(
    load: Callable[[str], ModuleType],
    small: Any,
    at_home: Callable[..., list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load("arm_onnx").CodedModel
    compare, seen = model.compare, list[Any]()
    monkeypatch.setattr(model, "compare", lambda *of: seen.append(of) or compare(*of))
    (graph, contract), record = small
    write_onnx_int8(graph, record(True), contract, tmp_path / "net.int8.onnx")
    whole, layers = at_home(tmp_path / "net.int8.onnx")
    assert not whole.bounded
    assert layers.agreement.compared > 1e5
    ((opened, arm, here),) = seen
    assert opened.sums.keys() >= {"neck.top_down.0.add.codes"}
    opened.sums = {}  # here they are not added as on Arm
    assert compare(opened, arm, here).wrong == 0
    assert "neck.up.codes" in opened.roundings, "in float: off by one is wrong, but for ties"
    assert "neck.reduce.0.codes" not in opened.roundings
    # Rounded from floats, of an integer convolution without and with its leaky ReLU, moved.
    for name in ("neck.up", "neck.reduce.0.linear", "neck.reduce.0", "neck.top_down.0.concat"):
        assert compare(opened, shift_one(arm, f"{name}.codes"), here).wrong == 1


def test_a_value_in_the_middle_may_become_either_code(load: Callable[[str], ModuleType]) -> None:
    onnx = load("arm_onnx")
    model = onnx.CodedModel.__new__(onnx.CodedModel)
    model.codes = ["x.codes"]
    model.roundings = {"x.codes": onnx.Rounding("x.float", Codes(0.5, -10))}
    here = {"x.codes": np.array([12, 12, 12, 12], np.uint8)}
    here["x.float"] = np.array([1.2499, 1.24, 0.7501, 1.0], np.float32)  # 2.4998, 2.48, 1.5002, 2
    arm = {"x.codes": np.array([13, 13, 11, 12], np.uint8)}
    assert model.compare(arm, here) == onnx.Agreement(compared=4, ties=2, wrong=1)
    model.sums, model.roundings = {}, {}
    assert model.compare(arm, here) == onnx.Agreement(compared=4, ties=0, wrong=3)


def test_sums_on_arm_round_halves_away_from_zero() -> None:
    sources, target = (Codes(0.25, -100), Codes(0.125, 0)), Codes(0.5, -3)
    first, second = np.array([1, -1, -1, -1, 0, -10, 127], np.int8), np.zeros(7, np.int8)
    second[2:7] = 1, 2, 10, 0, 127  # -0.25, 0, and 2.5 that becomes 3; the last are cut off
    total = emulate_sum_on_arm(sources, target, (first, second))
    assert total.tolist() == [1, -1, 0, 0, 3, -3, 95]
    # Seen: 171.50001, which is 171 with ratios of 22 bits, and 172 as a sum of floats.
    sources = Codes(0.0612922721, -79), Codes(0.0447145849, -93)
    target = Codes(0.0596050769, -76)
    codes = np.array([96 - 79], np.int8), np.array([197 - 93], np.int8)
    assert emulate_sum_on_arm(sources, target, codes).tolist() == [171 - 76]
    assert emulate_sum(sources, target, codes).tolist() == [172 - 76]


# Depthwise ones are left in float: here they take another reciprocal than on Arm.
def test_an_int8_ncnn_file(small: Any, at_home: Callable[..., list[Any]], tmp_path: Path) -> None:
    (graph, contract), record = small
    write_ncnn_int8(graph, record(False), contract, tmp_path / "net.int8.ncnn.param")
    *rows, layers = at_home(tmp_path / "net.int8.ncnn.param")
    assert not any(row.bounded for row in rows)
    assert not layers.breach
    assert layers.agreement.compared > 5e4
    assert layers.agreement.wrong == 0


def conv(name: str, source: str, channels: int, inputs: int, groups: int = 1, **more: Any) -> Conv:
    rng = np.random.default_rng(channels + inputs)
    weight = rng.normal(0, 0.4, (channels, inputs // groups, 3, 3)).astype(np.float32)
    bias = rng.normal(0, 0.4, channels).astype(np.float32)
    pads = Pads(0, 1, 1, 0)
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=weight,
        bias=bias,
        pads=pads,
        groups=groups,
        **more,
    )


def written(layers: Sequence[Conv], step: float, folder: Path) -> Path:
    """An ncnn file of integer convolutions one after the other; the last one gives floats."""
    graph = Graph(tuple(layers), (3, 20, 24), layers[-1].outputs)
    record = QuantizedLayers(
        {name: Codes(step, -127) for name in graph.shapes},
        {x.name: quantize_kernel(x.weight) for x in layers},
        Quantization("full", "ptq"),
    )
    text, weights = Int8Writer(graph, record).render()
    path = folder / "chain.ncnn.param"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".bin").write_bytes(weights)
    return path


def test_layers_of_ncnn_one_by_one(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    ncnn, inside = load("arm_ncnn"), load("arm_inside")
    leaky = conv("leaky", "image", 8, 3, stride=2, activation=Activation("leaky_relu", 0.1))
    bounded = conv("bounded", "leaky", 12, 8, activation=Activation("relu6"))
    path = written([leaky, bounded, conv("linear", "bounded", 4, 12)], 0.03, tmp_path)
    inputs = tmp_path / "inputs.npz"
    image = np.random.default_rng(0).normal(size=(1, 3, 20, 24)).astype(np.float32)
    inside.save(inputs, {"image": image})
    names = ["image", "leaky", "bounded", "linear"]
    job = {"model": str(path), "inputs": inputs, "names": names, "options": {}}
    arrays = inside.compute(job)
    layers = ncnn.read_integer_layers(path)
    assert [(x.source, x.target) for x in layers] == list(pairwise(names))
    assert [x.reads_codes for x in layers] == [False, True, True]
    found = ncnn.compare(layers, arrays)
    assert found.compared == sum(arrays[name].size for name in names[1:])
    assert found.wrong == 0
    # Each is compared alone, so that what follows from a wrong code does not count.
    assert ncnn.compare(layers[:1], shift_one(arrays, "leaky")).wrong == 1
    assert ncnn.compare(layers[1:2], shift_one(arrays, "bounded")).wrong == 1
    louder = {**arrays, "linear": arrays["linear"] * np.float32(1.0001)}
    assert ncnn.compare(layers[2:], louder).wrong > 0.5 * louder["linear"].size


@pytest.mark.parametrize(("channels", "wrong"), [(12, 0), (16, 1)])
def test_depthwise_codes_may_reach_further_where_channels_do_not_fill_eights(
    channels: int, wrong: int, load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    ncnn = load("arm_ncnn")
    wide = conv("wide", "image", channels, 3)
    depthwise = conv("depthwise", "wide", channels, channels, channels)
    path = written([wide, depthwise, conv("last", "depthwise", 4, channels)], 0.02, tmp_path)
    (layer,) = (x for x in ncnn.read_integer_layers(path) if x.layer.name == "depthwise")
    codes = np.random.default_rng(1).integers(-99, 99, (channels, 9, 9)).astype(np.float32)
    factors = np.float32(1) / (layer.scale_in * layer.scales)
    values, _ = convolve(layer.layer, layer.conv, codes.astype(np.int8), factors)
    engine = ncnn.to_codes(values * layer.scale_out)
    assert ncnn.compare([layer], {"wide": codes, "depthwise": engine}).wrong == 0
    assert engine.min() == -127
    engine.ravel()[engine.argmin()] = -128
    assert ncnn.compare([layer], {"wide": codes, "depthwise": engine}).wrong == wrong


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
