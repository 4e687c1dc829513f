"""Every operation in every format, against PyTorch, through the engine that reads the file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch.nn import functional

from mobileyolact.contract import CONTRACT_KEY, ModelContract
from mobileyolact.export import ncnn, onnx, torchscript  # noqa: F401
from mobileyolact.export.formats import EXPORTERS
from mobileyolact.export.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Flatten,
    Graph,
    Layer,
    MaxPool,
    Pads,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
    Transpose,
    Ungroup,
)

FORMATS = sorted(EXPORTERS)
SHAPE = (8, 12, 16)  # what the layer under test reads: (channels, height, width)


def random(*shape: int, seed: int = 0) -> Any:
    """Values that float16 holds exactly, so that storing weights as float16 costs nothing."""
    values = np.random.default_rng(seed).normal(size=shape)
    return values.astype(np.float16).astype(np.float32)


def conv(outputs: int, inputs: int, kernel: int, seed: int = 0, **fields: Any) -> Conv:
    group = inputs // fields.get("groups", 1)
    return Conv(
        name="y",
        inputs=("x",),
        outputs=("y",),
        weight=random(outputs, group, kernel, kernel, seed=seed),
        bias=random(outputs, seed=seed + 1),
        **fields,
    )


def expect_conv(layer: Conv) -> Callable[[Any], list[Any]]:
    def run(x: Any) -> list[Any]:
        p = layer.pads
        weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
        padded = functional.pad(x, (p.left, p.right, p.top, p.bottom))
        y = functional.conv2d(padded, weight, bias, layer.stride, groups=layer.groups)
        match layer.activation:
            case Activation("relu"):
                return [functional.relu(y)]
            case Activation("relu6"):
                return [functional.relu6(y)]
            case Activation("leaky_relu", slope):
                return [functional.leaky_relu(y, slope)]
        return [y]

    return run


CONVOLUTIONS = {
    "pointwise": conv(24, 8, 1),
    "one output, stored as float32": conv(1, 8, 1),
    "dense 3x3": conv(24, 8, 3, pads=Pads(1, 1, 1, 1)),
    "TensorFlow SAME at stride 2": conv(24, 8, 3, stride=2, pads=Pads(0, 1, 0, 1)),
    "four different pads": conv(24, 8, 5, pads=Pads(0, 1, 2, 3)),
    "depthwise 3x3": conv(8, 8, 3, groups=8, pads=Pads(1, 1, 1, 1)),
    "depthwise 5x5 at stride 2": conv(8, 8, 5, groups=8, stride=2, pads=Pads(2, 2, 2, 2)),
    "depthwise TensorFlow SAME": conv(8, 8, 3, groups=8, stride=2, pads=Pads(0, 1, 0, 1)),
    "leaky ReLU": conv(24, 8, 1, activation=Activation("leaky_relu", 0.1)),
    "ReLU": conv(24, 8, 1, activation=Activation("relu")),
    "ReLU6": conv(24, 8, 1, activation=Activation("relu6")),
    "depthwise leaky ReLU": conv(8, 8, 3, groups=8, activation=Activation("leaky_relu", 0.1)),
    "depthwise ReLU6": conv(8, 8, 3, groups=8, activation=Activation("relu6")),
}


def one(kind: Any, *inputs: str, **fields: Any) -> Layer:
    layer: Layer = kind(name="y", inputs=inputs or ("x",), outputs=("y",), **fields)
    return layer


Case = tuple[Sequence[Layer], Callable[[Any], list[Any]]]
FLAT = Flatten(name="flat", inputs=("x",), outputs=("flat",))
CASES: dict[str, Case] = {
    **{name: ([layer], expect_conv(layer)) for name, layer in CONVOLUTIONS.items()},
    "max pool": (
        [one(MaxPool, kernel=3, stride=2, padding=1)],
        lambda x: [functional.max_pool2d(x, 3, 2, 1)],
    ),
    "split": (
        [Split(name="s", inputs=("x",), outputs=("a", "y"))],
        lambda x: [x.chunk(2, 1)[1]],
    ),
    "split unequally": (
        [
            Split(name="s", inputs=("x",), outputs=("a", "b"), sizes=(1, 7)),
            one(Concat, "b", "a", axis=0),
        ],
        lambda x: [x.roll(-1, 1)],
    ),
    "concat channels": ([one(Concat, "x", "x", axis=0)], lambda x: [torch.cat([x, x], 1)]),
    "concat locations": (
        [FLAT, one(Concat, "flat", "flat", axis=1)],
        lambda x: [torch.cat([x.flatten(2)] * 2, 2)],
    ),
    "shuffle": ([one(Shuffle, groups=2)], lambda x: [functional.channel_shuffle(x, 2)]),
    "shuffle in four": ([one(Shuffle, groups=4)], lambda x: [functional.channel_shuffle(x, 4)]),
    "bilinear": (
        [one(Resize, mode="bilinear", scale=2)],
        lambda x: [functional.interpolate(x, scale_factor=2, mode="bilinear")],
    ),
    "nearest": (
        [one(Resize, mode="nearest", scale=2)],
        lambda x: [functional.interpolate(x, scale_factor=2, mode="nearest")],
    ),
    "bilinear to a size": (
        [one(ResizeTo, size=(23, 31))],
        lambda x: [functional.interpolate(x, (23, 31), mode="bilinear")],
    ),
    "bilinear to a smaller and a larger side": (
        [one(ResizeTo, size=(7, 17))],
        lambda x: [functional.interpolate(x, (7, 17), mode="bilinear")],
    ),
    "ungroup": (
        [FLAT, Transpose(name="t", inputs=("flat",), outputs=("t",)), one(Ungroup, "t", values=2)],
        lambda x: [x.flatten(2).transpose(1, 2).reshape(1, -1, 2)],
    ),
    "add": ([one(Add, "x", "image8")], lambda x: [2 * x]),
    "flatten": ([one(Flatten)], lambda x: [x.flatten(2)]),
    "transpose": ([FLAT, one(Transpose, "flat")], lambda x: [x.flatten(2).transpose(1, 2)]),
}


def with_stem(layers: Sequence[Layer]) -> Graph:
    """``layers`` behind two equal 1x1 convolutions that widen the image to 8 channels."""
    weight, bias = random(8, 3, 1, 1, seed=5), random(8, seed=6)
    stems = [
        Conv(name=name, inputs=("image",), outputs=(name,), weight=weight, bias=bias)
        for name in ("x", "image8")
    ]
    return Graph((*stems, *layers), (3, *SHAPE[1:]), ("y",))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", FORMATS)
def test_layer_equals_pytorch(
    format: str,
    case: str,
    tmp_path: Path,
    run: Any,
    decibels: Any,
    make_contract: Callable[..., ModelContract],
) -> None:
    layers, expected = CASES[case]
    graph = with_stem(layers)
    exporter = EXPORTERS[format]
    path = exporter.files(tmp_path, "net")[0]
    exporter.write(graph, make_contract(), path)

    image = random(3, *SHAPE[1:], seed=7)
    stem = graph.layers[0]
    assert isinstance(stem, Conv)
    (reference,) = expected(expect_conv(stem)(torch.from_numpy(image)[None])[0])
    (result,) = run[format](path, image, ("y",))
    assert result.shape == graph.shapes["y"]
    assert decibels(reference[0].numpy(), result) > 110


@pytest.mark.parametrize("format", FORMATS)
def test_same_input_gives_the_same_bytes(
    format: str, tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    exporter = EXPORTERS[format]
    graph = with_stem(CASES["dense 3x3"][0])
    contents = []
    for name in "ab":
        files = exporter.files(tmp_path / name, "net")
        exporter.write(graph, make_contract(), files[0])
        assert sorted((tmp_path / name).iterdir()) == sorted(files)
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("format", FORMATS)
def test_kernels_are_stored_as_float16(
    format: str, tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    exporter = EXPORTERS[format]
    sizes = {}
    for outputs in (64, 1088):
        files = exporter.files(tmp_path, f"net{outputs}")
        exporter.write(with_stem([conv(outputs, 8, 3)]), make_contract(), files[0])
        sizes[outputs] = sum(file.stat().st_size for file in files)
    # For each of 1,024 more outputs: a kernel of 72 float16 and one float32 bias.
    assert sizes[1088] - sizes[64] == pytest.approx(1024 * (72 * 2 + 4), abs=16)


@pytest.mark.parametrize("format", FORMATS)
def test_a_kernel_beyond_float16_stays_finite(
    format: str, tmp_path: Path, run: Any, make_contract: Callable[..., ModelContract]
) -> None:
    layer = conv(24, 8, 3)
    layer.weight[0, 0, 0, 0] = 1e5
    exporter = EXPORTERS[format]
    path = exporter.files(tmp_path, "net")[0]
    exporter.write(with_stem([layer]), make_contract(), path)
    (result,) = run[format](path, random(3, *SHAPE[1:]), ("y",))
    assert np.isfinite(result).all()
    assert np.abs(result[0]).max() > 1e4


@pytest.mark.parametrize("format", FORMATS)
def test_an_odd_number_of_halves_does_not_shift_what_follows(
    format: str,
    tmp_path: Path,
    run: Any,
    decibels: Any,
    make_contract: Callable[..., ModelContract],
) -> None:
    first = Conv(
        name="x",
        inputs=("image",),
        outputs=("x",),
        weight=random(9, 3, 3, 3),
        bias=random(9, seed=1),
    )
    second = conv(7, 9, 3, seed=2)
    graph = Graph((first, second), (3, 12, 16), ("y",))
    exporter = EXPORTERS[format]
    path = exporter.files(tmp_path, "net")[0]
    exporter.write(graph, make_contract(), path)
    image = random(3, 12, 16, seed=7)
    middle = expect_conv(first)(torch.from_numpy(image)[None])[0]
    (reference,) = expect_conv(second)(middle)
    (result,) = run[format](path, image, ("y",))
    assert decibels(reference[0].numpy(), result) > 110


def test_onnx_carries_the_contract_and_named_tensors(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    import onnx as library

    path = tmp_path / "net.onnx"
    EXPORTERS["onnx"].write(with_stem(CASES["add"][0]), make_contract(), path)
    model = library.load(str(path))
    (metadata,) = model.metadata_props
    assert metadata.key == CONTRACT_KEY
    assert ModelContract.from_json(metadata.value) == make_contract()
    assert [o.version for o in model.opset_import] == [17]
    assert model.ir_version == 8
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["y"]
    assert {"x", "image8", "y"} <= {node.name for node in model.graph.node}


def test_ncnn_lies_beside_its_contract(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    path = tmp_path / "net.ncnn.param"
    EXPORTERS["ncnn"].write(with_stem(CASES["add"][0]), make_contract(), path)
    text = (tmp_path / "net.ncnn.json").read_text(encoding="utf-8")
    assert ModelContract.from_json(text) == make_contract()
    lines = path.read_text().splitlines()
    assert lines[0] == "7767517"
    assert int(lines[1].split()[0]) == len(lines) - 2
