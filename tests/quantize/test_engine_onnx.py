"""ONNX Runtime computes the very codes of its emulation, and the check finds where it does not."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import numpy_helper

from mobileyolact import zoo
from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.errors import ModelError, ParityError
from mobileyolact.export.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Graph,
    Layer,
    MaxPool,
    Pads,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
)
from mobileyolact.export.onnx_int8 import write_onnx_int8
from mobileyolact.export.products import find_products
from mobileyolact.export.quantized import (
    SLOPE_FACTOR,
    SUM_FACTORS,
    Codes,
    QuantizedConv,
    QuantizedLayers,
)
from mobileyolact.export.trace import build_graph
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.quantize.agreement import LayerAgreement, check_agreement, compare_floats
from mobileyolact.quantize.engines import on_x86
from mobileyolact.quantize.engines.onnx import check, emulate_sum, emulate_sum_on_arm
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

Array = Any


def images(height: int, width: int, count: int = 2) -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, 3, height, width)).astype(np.float32) for _ in range(count)]


def quantize(
    graph: Graph, seen: Sequence[Array], keep_float: Sequence[str] = (), share: float = 1.0
) -> QuantizedLayers:
    """A record whose ranges are ``share`` of what the tensors hold for the images ``seen``."""
    ranges: dict[str, tuple[float, float]] = {}

    def see(name: str, value: Any) -> Any:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = (
            min(low, share * float(value.min())),
            max(high, share * float(value.max())),
        )
        return value

    with torch.inference_mode():
        for image in seen:
            execute(graph, torch.from_numpy(image), stored_weights(graph), see)
    convs = choose_convs(graph, "full", keep_float)
    return quantize_layers(graph, convs, ranges, Quantization("full", "ptq"))


def conv(
    name: str, source: str, out: int, inputs: int, kernel: int = 1, gain: float = 1, **more: Any
) -> Conv:
    """A convolution that amplifies by about ``gain``, with ReLU6 unless ``more`` says otherwise."""
    rng = np.random.default_rng(len(name) + out)
    shape = (out, inputs // more.get("groups", 1), kernel, kernel)
    side = kernel // 2
    more = {"pads": Pads(side, side, side, side), "activation": Activation("relu6"), **more}
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=rng.normal(0, gain * np.prod(shape[1:]) ** -0.5, shape).astype(np.float32),
        bias=rng.normal(0.2, 0.5, out).astype(np.float32),
        **more,
    )


def one(kind: Any, *inputs: str, **fields: Any) -> Layer:
    layer: Layer = kind(name="y", inputs=inputs, outputs=("y",), **fields)
    return layer


# Between "x" and "y", all of 16 channels and 12 x 10 cells; "a" is signed, "b" is not.
SIGNED, PLAIN = (
    conv("a", "x", 16, 16, activation=None),
    conv("b", "x", 16, 16, activation=Activation("relu")),
)
LEAKY = Activation("leaky_relu", 0.1)
FAR_BELOW = dataclasses.replace(
    conv("y", "x", 16, 16, activation=LEAKY), bias=np.full(16, -3, np.float32)
)
CASES: dict[str, Sequence[Layer]] = {
    "pointwise": [conv("y", "x", 16, 16, activation=None)],
    "ReLU": [conv("y", "x", 16, 16, activation=Activation("relu"))],
    "ReLU6": [conv("y", "x", 16, 16, gain=6)],
    "leaky ReLU": [conv("y", "x", 16, 16, activation=LEAKY)],
    "leaky ReLU of many bytes": [conv("y", "x", 144, 16, activation=LEAKY)],
    "signed input": [SIGNED, conv("y", "a", 16, 16)],
    "four different pads": [conv("y", "x", 16, 16, 5, pads=Pads(0, 1, 2, 3))],
    "depthwise": [SIGNED, conv("y", "a", 16, 16, 3, groups=16)],
    "depthwise TensorFlow SAME, leaky": [
        conv(
            "y",
            "x",
            16,
            16,
            3,
            groups=16,
            stride=2,
            pads=Pads(0, 1, 0, 1),
            activation=LEAKY,
        )
    ],
    "two groups": [conv("y", "x", 16, 16, 3, groups=2)],
    "sum": [SIGNED, PLAIN, one(Add, "a", "b")],
    "concat": [SIGNED, PLAIN, one(Concat, "a", "b", axis=0)],
    "ReLU6 beside a wider tensor": [
        conv("a", "x", 16, 16, gain=12, activation=None),
        conv("b", "x", 16, 16, gain=12),
        one(Concat, "a", "b", axis=0),
    ],
    "split": [SIGNED, Split(name="split", inputs=("a",), outputs=("y", "z"))],
    "split of a layer left in float": [
        conv("float", "x", 32, 16),
        Split(name="split", inputs=("float",), outputs=("y", "z")),
    ],
    "shuffle": [SIGNED, one(Shuffle, "a", groups=2)],
    "max pool": [SIGNED, one(MaxPool, "a", kernel=3, stride=2, padding=1)],
    "nearest": [SIGNED, one(Resize, "a", mode="nearest", scale=2)],
    "bilinear": [SIGNED, one(Resize, "a", mode="bilinear", scale=2)],
    "bilinear to a size": [SIGNED, one(ResizeTo, "a", size=(17, 23))],
    "a layer left in float": [SIGNED, conv("float", "a", 16, 16), one(Add, "a", "float")],
    "max pool of a float convolution": [one(MaxPool, "x", kernel=3, stride=2, padding=1)],
}


def surround(layers: Sequence[Layer], by: Activation | None = None) -> Graph:
    """``layers`` between two convolutions and two readers of "y", of which one has integers."""
    stem = conv("stem", "image", 8, 3, 3, stride=2)
    before = Graph((stem, conv("x", "stem", 16, 8, activation=by), *layers), (3, 24, 20), ("y",))
    channels = before.shapes["y"][0]
    reader = conv("reader", "y", 8, channels, activation=None)
    out = conv("out", "reader", 4, 8, activation=None)
    return Graph((*before.layers, reader, out), (3, 24, 20), ("out",))


def differing(graph: Graph, record: QuantizedLayers, path: Path, image: Array) -> dict[str, int]:
    found = check(graph, record, path, image)
    assert all(allowed.share == allowed.largest == 0 for _, allowed in found)
    assert all(agreement.codes > 0 for agreement, _ in found)
    return {agreement.layer: agreement.differing for agreement, _ in found}


def noise(graph: Graph, path: Path, image: Array) -> float:
    """What the file adds to the float output, as a share of its power."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    (result,) = session.run(["out"], {"image": image})
    with torch.inference_mode():
        (expected,) = execute(graph, torch.from_numpy(image), stored_weights(graph))
    difference = result - expected.numpy()
    return float(np.square(difference).mean() / np.square(expected.numpy()).mean())


@pytest.mark.parametrize("share", [1.0, 0.4], ids=["all within range", "clipped"])
@pytest.mark.parametrize("case", CASES)
def test_every_layer_gives_the_codes_of_its_emulation(
    case: str, share: float, tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    graph = surround(CASES[case])
    seen, other = images(24, 20)
    record = quantize(graph, [seen], ["float"] if "left" in case else [], share)
    path = tmp_path / "net.int8.onnx"
    write_onnx_int8(graph, record, make_contract(), path)
    found = differing(graph, record, path, other)
    assert found == dict.fromkeys(found, 0)
    coded = {x.name for x in graph.layers if record.tensors.keys() & {*x.outputs}}
    assert found.keys() == coded | {"out"}, "the last one gives floats"

    # A check of both against the same misunderstanding would agree too: is it the float network?
    assert (noise(graph, path, other) < 0.02) == (share == 1.0)


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.25])
@pytest.mark.parametrize("factor", SUM_FACTORS)
def test_a_leaky_relu_gives_the_same_codes_looked_up_or_added(factor: float, slope: float) -> None:
    """Wherever it is added: with one rounding more or less, or on Arm."""
    kernel = QuantizedConv(np.zeros((1, 1, 1, 1), np.int8), np.ones(1, np.float32), factor)
    target = Codes(float(np.float32(0.013)), -90)
    sums = np.arange(256) - kernel.sum_zero
    values = np.float32(kernel.sum_step(target)) * sums.astype(np.float32)
    steeper = np.float32(slope * SLOPE_FACTOR)
    looked_up = target.nearest(np.where(values >= 0, values, steeper * values))
    assert (looked_up.min() < 0) and (looked_up.max() > 120)
    summed = kernel.sum_terms(target, slope), target, (sums, sums.clip(0))
    for added in emulate_sum(*summed), emulate_sum(*summed, False), emulate_sum_on_arm(*summed):
        np.testing.assert_array_equal(added, looked_up)


def add_bytes(sources: Sequence[Codes], target: Codes, first: Array, second: Array) -> Array:
    """QLinearAdd of ONNX Runtime on codes (N,)."""
    import onnxruntime

    helper, uint8 = onnx.helper, onnx.TensorProto.UINT8
    values = {}
    for name, codes in zip("abc", (*sources, target), strict=True):
        values[f"{name}.step"] = np.array(codes.step, np.float32)
        values[f"{name}.zero"] = np.array(codes.zero_point, np.uint8)
    names = ["a", "a.step", "a.zero", "b", "b.step", "b.zero", "c.step", "c.zero"]
    node = helper.make_node("QLinearAdd", names, ["c"], domain="com.microsoft")
    shaped = [helper.make_tensor_value_info(name, uint8, [len(first)]) for name in "abc"]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph([node], "add", shaped[:2], shaped[2:], constants)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    given = {"a": first + sources[0].zero_point, "b": second + sources[1].zero_point}
    (result,) = session.run(["c"], {name: x.astype(np.uint8) for name, x in given.items()})
    return result.astype(np.int16) - target.zero_point


def test_sums_of_all_pairs_of_codes() -> None:
    rng = np.random.default_rng(1)
    unfused = 0
    for _ in range(100):
        *steps, step = rng.uniform(0.01, 0.1, 3).astype(np.float32).tolist()
        lows = -rng.integers(0, 128, 3)
        sources = Codes(steps[0], int(lows[0])), Codes(steps[1], int(lows[1]))
        target = Codes(step, int(lows[2]))
        grid = np.meshgrid(*(np.arange(x.low, 128) for x in sources), indexing="ij")
        first, second = (x.ravel().astype(np.int16) for x in grid)
        engine = add_bytes(sources, target, first, second).clip(target.low, 127)
        if not on_x86():
            assert np.array_equal(engine, emulate_sum_on_arm(sources, target, (first, second)))
            continue
        ours = [
            emulate_sum(sources, target, (first, second), fused=fused) for fused in (True, False)
        ]
        assert ((engine == ours[0]) | (engine == ours[1])).all()
        unfused += int(np.count_nonzero(ours[0] != ours[1]))
    assert unfused > 0 or not on_x86(), "the cases know the difference"


@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_sums_are_those_of_one_kind_of_processor(
    machine: str,
    tmp_path: Path,
    make_contract: Callable[..., ModelContract],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = surround(CASES["sum"])
    seen, other = images(24, 20)
    record = quantize(graph, [seen], [], 1.0)
    path = tmp_path / "net.int8.onnx"
    write_onnx_int8(graph, record, make_contract(), path)
    same = on_x86() == (machine == "x86_64")
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = differing(graph, record, path, other)
    (total,) = (x.name for x in graph.layers if isinstance(x, Add))
    assert (found.pop(total) == 0) == same
    assert found == dict.fromkeys(found, 0)


def test_sums_far_below_zero_are_nearer_in_bytes_of_larger_steps(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    graph = surround([FAR_BELOW])
    seen, other = images(24, 20)
    path = tmp_path / "net.int8.onnx"
    for share in (0.4, 1.0):  # the former cuts off what is greatest
        record = quantize(graph, [seen], share=share)
        found = []
        for factor in SUM_FACTORS:
            layer = dataclasses.replace(record.convs["y"], sum_factor=factor)
            changed = dataclasses.replace(record, convs={**record.convs, "y": layer})
            write_onnx_int8(graph, changed, make_contract(), path)
            assert not any(differing(graph, changed, path, other).values()), factor
            found.append(noise(graph, path, other))
    assert SUM_FACTORS[0] == 1 and min(found[1:]) < 0.1 * found[0]


@pytest.mark.parametrize("preset", ["n-320", "s-320", "paper-320"])
def test_whole_networks(preset: str, tmp_path: Path, make_network: Callable[..., Any]) -> None:
    network, contract = make_network(preset, size=64)
    graph = build_graph(network, contract)
    seen, other = images(64, 64)
    record = quantize(graph, [seen])
    path = tmp_path / "net.int8.onnx"
    write_onnx_int8(graph, record, contract, path)
    found = differing(graph, record, path, other)
    assert record.convs.keys() <= found.keys()
    assert len(last := find_products(graph, record).results) == 3
    assert "prototypes" in record.tensors
    assert last.keys() <= found.keys()
    assert not any(found.values())


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("a.weight.codes", "a"),
        ("b.bias.codes", "b"),
        ("stem.bias", "stem"),
        ("out.weight.codes", "out"),
        ("out.bias.codes", "out"),
    ],
)
def test_a_layer_that_computes_something_else_is_found(
    tensor: str, layer: str, tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    graph = surround(CASES["sum"])
    seen, other = images(24, 20)
    record = quantize(graph, [seen])
    path = tmp_path / "net.int8.onnx"
    write_onnx_int8(graph, record, make_contract(), path)
    model = onnx.load(path)
    (entry,) = [t for t in model.graph.initializer if t.name == tensor]
    values = numpy_helper.to_array(entry).copy()
    values.flat[3] += values.dtype.type(1 if "weight" in tensor else 0.1 * np.ptp(values))
    entry.CopyFrom(numpy_helper.from_array(values, tensor))
    onnx.save(model, path)
    found = check(graph, record, path, other)
    assert {agreement.layer for agreement, _ in found if agreement.differing} == {layer}
    with pytest.raises(ParityError, match=f"in onnx, layer '{layer}' of net.int8.onnx"):
        check_agreement(found, "onnx", path.name)


def test_floats_differ_from_a_ten_thousandth_on() -> None:
    emulated = np.array([2.0, -0.5, 0.0, 1.0], np.float32)
    engine = emulated + np.array([1e-4, -7e-4, np.nan, np.inf], np.float32)
    assert compare_floats("y", emulated, emulated) == LayerAgreement("y", 4, 0, 0)
    assert compare_floats("y", engine[:2], emulated[:2]) == LayerAgreement("y", 2, 1, 3)
    assert compare_floats("y", engine, emulated) == LayerAgreement("y", 4, 3, 10_000)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    graph = surround(CASES["sum"])
    record = quantize(graph, images(24, 20))
    path = tmp_path / "net.int8.onnx"
    path.write_bytes(onnx.ModelProto().SerializeToString())
    with pytest.raises(ModelError, match=r"cannot load .*net\.int8\.onnx: .*quantize the model"):
        check(graph, record, path, images(24, 20)[0])


@pytest.mark.slow
def test_the_embedded_model_on_photographs(tmp_path: Path) -> None:
    folder = Path(pytest.importorskip("skimage").__path__[0]) / "data"
    network, contract = load_checkpoint(zoo.resolve("coco", "safetensors"))
    graph = build_graph(network, contract)
    pictures = [
        preprocess(open_image(folder / name), contract)[0]
        for name in ("chelsea.png", "coffee.png", "astronaut.png")
    ]
    record = quantize(graph, pictures[:2])
    path = tmp_path / "coco.int8.onnx"
    write_onnx_int8(graph, record, dataclasses.replace(contract, quantization=record.summary), path)
    for picture in pictures:
        found = check(graph, record, path, picture)
        codes = sum(agreement.codes for agreement, _ in found)
        assert codes > 20_000_000
        assert [a for a, _ in found if a.differing] == list[LayerAgreement]()
    weights = sum(x.weight.size + x.bias.size for x in graph.layers if isinstance(x, Conv))
    assert path.stat().st_size <= 0.32 * 4 * weights
