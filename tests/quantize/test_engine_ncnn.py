"""ncnn computes, layer by layer, what its emulation computes, and a wrong file is noticed."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import Quantization
from mobileyolact.errors import ModelError, ParityError
from mobileyolact.export.graph import Activation, Conv, Graph
from mobileyolact.export.ncnn_int8 import integer_convs, requantized_convs, write_ncnn_int8
from mobileyolact.export.quantized import QuantizedConv, QuantizedLayers
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.agreement import check_agreement
from mobileyolact.quantize.engines import ncnn
from mobileyolact.quantize.engines.ncnn import check, convolve, multipliers, quantize
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess
from mobileyolact.zoo import resolve

Images = list[Any]


def record(graph: Graph, images: Images, keep_float: Collection[str] = ()) -> QuantizedLayers:
    """Post-training quantization by the least and greatest values of ``images``."""
    ranges: dict[str, tuple[float, float]] = {}

    def see(name: str, value: Any) -> Any:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, float(value.min())), max(high, float(value.max()))
        return value

    with torch.inference_mode():
        for image in images:
            execute(graph, torch.from_numpy(image), stored_weights(graph), see)
    convs = choose_convs(graph, "full", keep_float)
    return quantize_layers(graph, convs, ranges, Quantization("full", "ptq"))


def depthwise(graph: Graph) -> list[str]:
    return [x.name for x in graph.layers if isinstance(x, Conv) and x.groups > 1]


def noise(shape: tuple[int, ...], count: int) -> Images:
    """Smooth random pictures with a little noise: (1, 3, H, W) float32."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 1, 3, 6, 6, generator=generator)
    fine = torch.randn(count, 1, *shape, generator=generator)
    smooth = (torch.nn.functional.interpolate(c, shape[1:], mode="bicubic") for c in coarse)
    return [(s + 0.1 * f).numpy() for s, f in zip(smooth, fine, strict=True)]


def agrees(graph: Graph, quantized: QuantizedLayers, path: Path, image: Any) -> None:
    """Every integer layer is compared, and only depthwise ones may differ, hardly."""
    found = check(graph, quantized, path, image)
    check_agreement(found, "ncnn", path.name)
    assert {layer.layer for layer, _ in found} == set(quantized.convs)
    grouped = set(depthwise(graph))
    assert sum(layer.differing for layer, _ in found if layer.layer not in grouped) == 0
    codes = sum(layer.codes for layer, _ in found if layer.layer in grouped)
    assert sum(layer.differing for layer, _ in found if layer.layer in grouped) <= 1e-5 * codes


@pytest.fixture
def small(tmp_path: Path, make_network: Any) -> tuple[Graph, QuantizedLayers, Path, Any]:
    """An integer n-320 at 64 pixels with its file, and a picture that it was not calibrated on."""
    network, contract = make_network("n-320", size=64)
    graph = build_graph(network, contract)
    *seen, unseen = noise(graph.input_shape, 3)
    quantized = record(graph, seen)
    path = tmp_path / "net.int8.ncnn.param"
    write_ncnn_int8(graph, quantized, contract, path)
    return graph, quantized, path, unseen


# The last has dense 3x3 convolutions, which ncnn computes by Winograd's transform.
@pytest.mark.parametrize(
    ("preset", "size"), [("n-416", 96), ("s-320", 96), ("paper-320", 96), ("dense-320", 64)]
)
@pytest.mark.parametrize("in_float", [False, True], ids=["depthwise too", "depthwise in float"])
def test_layers_of_networks_agree(
    preset: str, size: int, in_float: bool, tmp_path: Path, make_network: Any
) -> None:
    network, contract = make_network(preset, size=size)
    graph = build_graph(network, contract)
    *seen, unseen = noise(graph.input_shape, 3)
    quantized = record(graph, seen, depthwise(graph) if in_float else ())
    path = tmp_path / "net.int8.ncnn.param"
    write_ncnn_int8(graph, quantized, contract, path)
    requantized = requantized_convs(graph, integer_convs(graph, quantized))
    assert in_float or len(requantized) > len(quantized.convs) / 3, "both kinds of output"
    agrees(graph, quantized, path, unseen)


@pytest.mark.parametrize("in_float", [False, True], ids=["depthwise too", "depthwise in float"])
def test_layers_of_the_embedded_model_agree(in_float: bool, tmp_path: Path) -> None:
    from mobileyolact.model.weights import load_checkpoint

    network, contract = load_checkpoint(resolve("coco", "safetensors"))
    graph = build_graph(network, contract)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (9, 12, 3), np.uint8).repeat(40, 0).repeat(40, 1)] * 2
    pictures[1] = pictures[1][::-1, ::-2].copy()
    seen, unseen = (preprocess(open_image(p), contract)[0] for p in pictures)
    quantized = record(graph, [seen], depthwise(graph) if in_float else ())
    path = tmp_path / "net.int8.ncnn.param"
    write_ncnn_int8(graph, quantized, contract, path)
    agrees(graph, quantized, path, unseen)


def find_kernel(content: bytes, weight: Any) -> int:
    where = content.find(weight.tobytes())
    assert where > 0
    return where


# On Arm more roundings are allowed.
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("kind", ["codes", "floats", "depthwise"])
def test_one_wrong_weight_is_noticed(
    kind: str, machine: str, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    graph, quantized, path, image = small
    requantized = requantized_convs(graph, quantized.convs)
    grouped = depthwise(graph)
    chosen = {
        "codes": [n for n in requantized if n not in grouped],
        "floats": [n for n in quantized.convs if n not in requantized and n not in grouped],
        "depthwise": [n for n in requantized if n in grouped],
    }[kind]
    name = min(chosen)
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    content[find_kernel(bytes(content), quantized.convs[name].weight)] ^= 0x40
    weights.write_bytes(content)
    with pytest.raises(ParityError, match=f"layer '{name}' of net.int8.ncnn.param"):
        check_agreement(check(graph, quantized, path, image), "ncnn", path.name)


def test_a_wrong_step_is_noticed(small: Any) -> None:
    graph, quantized, path, image = small
    name = min(requantized_convs(graph, quantized.convs))
    steps = quantized.convs[name].steps
    steps *= np.float32(1.02)
    with pytest.raises(ParityError, match=f"layer '{name}'"):
        check_agreement(check(graph, quantized, path, image), "ncnn", path.name)


def test_asking_ncnn_hides_no_wrong_step(
    small: Any, make_contract: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, quantized, path, image = small
    name = min(set(depthwise(graph)) & requantized_convs(graph, quantized.convs))
    conv = quantized.convs[name]
    wrong = {**quantized.convs, name: replace(conv, steps=conv.steps * np.float32(1.02))}
    write_ncnn_int8(graph, replace(quantized, convs=wrong), make_contract(), path)
    ask = ncnn._ask_multipliers
    monkeypatch.setattr(ncnn, "_ask_multipliers", lambda *of: np.float32(1.02) * ask(*of))
    with pytest.raises(ParityError, match=f"layer '{name}'"):
        check_agreement(check(graph, quantized, path, image), "ncnn", path.name)


def test_a_file_that_is_cut_off(small: Any) -> None:
    graph, quantized, path, image = small
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="ncnn cannot load"):
        check(graph, quantized, path, image)


def test_half_a_step_is_rounded_away_from_zero() -> None:
    values = np.array([0.24, 0.25, 0.75, -0.24, -0.25, -0.75, 63.5, 99, -63.5, -99], np.float32)
    assert quantize(values, 0.5).tolist() == [0, 1, 2, 0, -1, -2, 127, 127, -127, -127]


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (None, [2.75, -9.25]),
        (Activation("relu"), [2.75, 0]),
        (Activation("relu6"), [2.75, 0]),
        (Activation("leaky_relu", 0.5), [2.75, -4.625]),
    ],
)
def test_a_convolution_by_hand(activation: Activation | None, expected: list[float]) -> None:
    layer = Conv(
        name="y",
        inputs=("x",),
        outputs=("y",),
        weight=np.ones((1, 2, 1, 1), np.float32),
        bias=np.array([0.75], np.float32),
        activation=activation,
    )
    weight = np.array([3, -2], np.int8).reshape(1, 2, 1, 1)
    conv = QuantizedConv(weight, np.array([0.25], np.float32))
    codes = np.array([[[10, -20]], [[7, 10]]], np.int8)  # sums 16 and -80
    values, _ = convolve(layer, conv, codes, multipliers(conv, 0.5))
    assert values.ravel().tolist() == expected
