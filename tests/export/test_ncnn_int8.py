"""Int8 files of ncnn, byte by byte, and that ncnn and this package run them."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.export import ncnn_int8
from mobileyolact.export.formats import INT8_EXPORTERS
from mobileyolact.export.graph import Activation, Add, Conv, Graph, Layer, Pads
from mobileyolact.export.ncnn import FLOAT16_TAG
from mobileyolact.export.ncnn_int8 import INT8_TAG
from mobileyolact.export.ncnn_small import COLOURS, PALETTE_TAG
from mobileyolact.export.quantized import Codes, QuantizedLayers, quantize_kernel
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.backends import open_backend

SUMMARY = Quantization("full", "ptq")
STEPS = {"x": 0.5, "y": 0.25, "z": 0.125, "image": 1.0}


def conv(
    source: str, target: str, out: int = 8, inputs: int = 8, kernel: int = 1, **more: Any
) -> Conv:
    rng = np.random.default_rng(len(target) + out)
    shape = (out, inputs // more.get("groups", 1), kernel, kernel)
    return Conv(
        name=target,
        inputs=(source,),
        outputs=(target,),
        weight=rng.normal(size=shape).astype(np.float32),
        bias=rng.normal(size=out).astype(np.float32),
        pads=Pads(*[kernel // 2] * 4),
        **more,
    )


STEM = conv("image", "x", inputs=3)


def quantize(*layers: Conv) -> QuantizedLayers:
    """Integer kernels of ``layers``, with every tensor at a step of its own."""
    names = {name for layer in layers for name in (*layer.inputs, *layer.outputs)}
    tensors = {name: Codes(STEPS.get(name, 0.5), -127) for name in names}
    kernels = {layer.name: quantize_kernel(layer.weight, 63) for layer in layers}
    return QuantizedLayers(tensors, kernels, SUMMARY)


def write(
    folder: Path, graph: Graph, record: QuantizedLayers, contract: ModelContract
) -> tuple[dict[str, list[str]], Path]:
    """The words of each layer's line by its name, and the file."""
    exporter = INT8_EXPORTERS["ncnn"]
    files = exporter.files(folder, "net")
    exporter.write(graph, record, contract, files[0])
    assert sorted(folder.iterdir()) == sorted(files)
    lines = files[0].read_text().splitlines()[2:]
    return {words[1]: words for words in map(str.split, lines)}, files[0]


def term(words: list[str]) -> int:
    """Parameter 8: 0 where a layer is computed in float."""
    return next((int(w.removeprefix("8=")) for w in words if w.startswith("8=")), 0)


def test_every_byte_of_two_convolutions(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    first = conv("x", "y", 3, kernel=3)  # an odd number of weights: 216 bytes; then 3 of 9
    second = conv("y", "z", 3, 3, kernel=3, groups=3)
    record = quantize(first, second)
    graph = Graph((STEM, first, second), (3, 8, 8), ("z",))
    words, path = write(tmp_path, graph, record, make_contract(quantization=SUMMARY))
    assert [term(words[name]) for name in "xyz"] == [0, 102, 1]
    assert "6=216" in words["y"]
    assert "6=27" in words["z"]

    def floats(*values: Any) -> bytes:
        return b"".join(np.asarray(v, "<f4").tobytes() for v in values)

    y, z = record.convs["y"], record.convs["z"]
    assert path.with_suffix(".bin").read_bytes() == b"".join(
        [
            struct.pack("<I", 0) + floats(STEM.weight, STEM.bias),
            struct.pack("<I", INT8_TAG) + y.weight.tobytes(),
            floats(first.bias, 1 / y.steps, 1 / 0.5, 1 / 0.25),
            struct.pack("<I", INT8_TAG) + z.weight.tobytes() + b"\0",
            floats(second.bias, 1 / z.steps, 1 / 0.25),
        ]
    )
    text = path.with_suffix(".json").read_text(encoding="utf-8")
    assert ModelContract.from_json(text).quantization == SUMMARY


TAIL = conv("y", "z")
DEPTHWISE = conv("x", "y", groups=8, kernel=3)
WRITES_CODES: dict[str, tuple[list[Layer], tuple[str, ...], int]] = {
    "one reader": ([conv("x", "y"), TAIL], ("z",), 102),
    "depthwise": ([DEPTHWISE, TAIL], ("z",), 101),
    "two readers": ([conv("x", "y"), TAIL, conv("y", "w")], ("z", "w"), 102),
    "an output": ([conv("x", "y"), TAIL], ("y", "z"), 2),
    "read by a sum too": (
        [conv("x", "y"), TAIL, Add(name="s", inputs=("y", "z"), outputs=("s",))],
        ("s",),
        2,
    ),
    "read by a float convolution too": (
        [conv("x", "y"), TAIL, conv("y", "float")],
        ("z", "float"),
        2,
    ),
    "depthwise, read by nothing else": ([DEPTHWISE], ("y",), 1),
}


@pytest.mark.parametrize("case", WRITES_CODES)
def test_codes_are_written_only_for_integer_convolutions(
    case: str, tmp_path: Path, run: Any, make_contract: Callable[..., ModelContract]
) -> None:
    layers, outputs, expected = WRITES_CODES[case]
    record = quantize(*(x for x in layers if isinstance(x, Conv) and x.name != "float"))
    graph = Graph((STEM, *layers), (3, 8, 8), outputs)
    words, path = write(tmp_path, graph, record, make_contract())
    assert term(words["y"]) == expected
    assert term(words["x"]) == 0
    image = np.random.default_rng(1).normal(size=(3, 8, 8)).astype(np.float32)
    assert all(np.isfinite(a).all() and a.any() for a in run["ncnn"](path, image, outputs))


def test_groups_of_several_channels_stay_float(
    tmp_path: Path, run: Any, decibels: Any, make_contract: Callable[..., ModelContract]
) -> None:
    grouped = conv("x", "y", groups=4)
    graph = Graph((STEM, grouped), (3, 8, 8), ("y",))
    words, path = write(tmp_path, graph, quantize(grouped), make_contract())
    assert term(words["y"]) == 0
    image = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    (expected,) = execute(graph, torch.from_numpy(image), stored_weights(graph))
    assert decibels(expected[0].numpy(), run["ncnn"](path, image[0], ("y",))[0]) > 100


def test_what_the_record_leaves_out_is_stored_as_in_the_small_file(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    stem = conv("image", "x", out=64, inputs=3, kernel=11)
    depthwise = conv("x", "y", out=64, inputs=64, groups=64, kernel=3)
    tail = conv("y", "z", inputs=64)
    graph = Graph((stem, depthwise, tail), (3, 8, 8), ("z",))
    words, path = write(tmp_path, graph, quantize(tail), make_contract())
    assert [term(words[name]) for name in "xyz"] == [0, 0, 2]
    content = path.with_suffix(".bin").read_bytes()
    assert content.startswith(struct.pack("<I", PALETTE_TAG))
    length = 4 + 4 * COLOURS + stem.weight.size + 4 * 64
    assert content[length:].startswith(struct.pack("<I", FLOAT16_TAG))


@pytest.mark.parametrize("kind", ["relu", "relu6", "leaky_relu"])
def test_activations_follow_the_sums(
    kind: Any, tmp_path: Path, run: Any, make_contract: Callable[..., ModelContract]
) -> None:
    layer = dataclasses.replace(conv("x", "y"), activation=Activation(kind, 0.1))
    layer.bias[:2] = (50, -50)
    graph = Graph((STEM, layer), (3, 8, 8), ("y",))
    _, path = write(tmp_path, graph, quantize(layer), make_contract())
    (result,) = run["ncnn"](path, np.zeros((3, 8, 8), np.float32), ("y",))
    high, low = {"relu": (50, 0), "relu6": (6, 0), "leaky_relu": (50, -5)}[kind]
    assert result[0].mean() == pytest.approx(high, abs=5 if high == 50 else 0)
    assert result[1].mean() == pytest.approx(low, abs=1 if low else 0)


@pytest.mark.parametrize("preset", ["n-320", "s-320", "paper-320"])
@pytest.mark.parametrize("depthwise", [True, False])
def test_networks_give_nearly_what_they_give_in_float(
    preset: str, depthwise: bool, tmp_path: Path, make_network: Any, decibels: Any
) -> None:
    network, contract = make_network(preset, size=64)
    graph = build_graph(network, contract)
    image = np.random.default_rng(3).normal(size=(1, 3, 64, 64)).astype(np.float32)
    ranges = {}
    left_out = [x.name for x in graph.layers if isinstance(x, Conv) and x.groups > 1]
    convs = choose_convs(graph, "full", () if depthwise else left_out)

    def see(name: str, value: Any) -> Any:
        ranges[name] = (float(value.min()), float(value.max()))
        return value

    with torch.inference_mode():
        expected = execute(graph, torch.from_numpy(image), stored_weights(graph), see)
    record = quantize_layers(graph, convs, ranges, SUMMARY)
    path = tmp_path / "net.int8.ncnn.param"
    ncnn_int8.write_ncnn_int8(graph, record, contract, path)
    backend = open_backend(path)
    results = backend.run(image)
    backend.close()
    assert min(map(decibels, [e.numpy() for e in expected], results)) > 15

    weights = sum(x.weight.size for x in graph.layers if isinstance(x, Conv))
    kernels = path.with_suffix(".bin").read_bytes()
    assert len(kernels) < 1.4 * weights
    ncnn_int8.write_ncnn_int8(graph, record, contract, path)
    assert path.with_suffix(".bin").read_bytes() == kernels
