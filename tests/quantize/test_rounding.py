"""Kernels whose weights are rounded together give what the float kernel gives more nearly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.export.graph import Activation, Conv, Graph, Pads
from mobileyolact.export.quantized import QuantizedConv
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.rounding import gather_grams, rounded_together
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

SAME = Pads(1, 1, 1, 1)


def conv(name: str, source: str, shape: tuple[int, ...], **options: Any) -> Conv:
    rng = np.random.default_rng(len(name))
    options.setdefault("activation", Activation("leaky_relu", 0.1))
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=rng.normal(size=shape).astype(np.float32),
        bias=rng.normal(size=shape[0]).astype(np.float32),
        **options,
    )


GRAPH = Graph(
    (
        conv("stem", "image", (8, 3, 3, 3), stride=2, pads=SAME),
        conv("wide", "stem", (24, 8, 1, 1)),
        conv("deep", "wide", (24, 1, 5, 5), stride=2, pads=Pads(1, 2, 1, 2), groups=24),
        conv("grouped", "deep", (12, 8, 3, 3), pads=SAME, groups=3),
        conv("coarse", "grouped", (12, 12, 1, 1), stride=2),
        conv("y", "coarse", (8, 12, 1, 1), activation=None),
    ),
    (3, 64, 64),
    ("y",),
)
CONVS = {layer.name: layer for layer in GRAPH.layers if isinstance(layer, Conv)}
INTEGER = ("wide", "deep", "grouped", "coarse", "y")


@pytest.fixture
def contract(make_contract: Callable[..., ModelContract]) -> ModelContract:
    return make_contract(std=(64.0, 64.0, 64.0)).at_size((64, 64))


def tensors_on(picture: Path, contract: ModelContract) -> dict[str, Any]:
    found: dict[str, Any] = {}
    image = torch.from_numpy(preprocess(open_image(picture), contract)[0])
    execute(GRAPH, image, stored_weights(GRAPH), lambda n, v: found.setdefault(n, v))
    return found


def convolve(layer: Conv, x: Any, weight: Any) -> Any:
    pads = layer.pads
    x = torch.nn.functional.pad(x, (pads.left, pads.right, pads.top, pads.bottom)).double()
    kernel = torch.from_numpy(np.asarray(weight, np.float64))
    return torch.nn.functional.conv2d(x, kernel, None, layer.stride, groups=layer.groups)


def test_a_gram_matrix_gives_the_power_of_what_any_kernel_gives(
    pictures: list[Path], contract: ModelContract
) -> None:
    grams = gather_grams(GRAPH, contract, pictures)
    assert grams.keys() == CONVS.keys()
    seen = [tensors_on(picture, contract) for picture in pictures]
    for name, layer in CONVS.items():
        weight = np.random.default_rng(1).normal(size=layer.weight.shape)
        power = sum((convolve(layer, x[layer.inputs[0]], weight) ** 2).sum((0, 2, 3)) for x in seen)
        rows = weight.reshape(layer.groups, -1, layer.weight[0].size)
        told = np.einsum("goi,gij,goj->go", rows, grams[name], rows).ravel()
        np.testing.assert_allclose(told, power, rtol=1e-4)


def test_sums_are_nearer_to_float_at_the_same_steps_and_within_the_limit(
    pictures: list[Path], contract: ModelContract
) -> None:
    ranges = dict.fromkeys(GRAPH.shapes, (-9.0, 10.0))
    nearest = quantize_layers(GRAPH, INTEGER, ranges, Quantization("full", "ptq"))
    grams = gather_grams(GRAPH, contract, pictures[:1])
    together = rounded_together(GRAPH, nearest, grams, INTEGER)
    seen = tensors_on(pictures[1], contract)
    assert (together.tensors, together.convs.keys()) == (nearest.tensors, nearest.convs.keys())
    for name in INTEGER:
        layer, before, after = CONVS[name], nearest.convs[name], together.convs[name]
        assert np.array_equal(before.steps, after.steps)
        limit = nearest.tensors[layer.inputs[0]].weight_limit
        assert limit < 127 and np.abs(after.weight.astype(int)).max() <= limit
        x = seen[layer.inputs[0]]
        errors = [
            float((convolve(layer, x, conv.values - layer.weight) ** 2).mean())
            for conv in (before, after)
        ]
        assert errors[1] < 0.7 * errors[0], name


def test_what_is_stored_for_several_layers_suits_all_of_them_and_the_rest_stays(
    pictures: list[Path], contract: ModelContract
) -> None:
    shared = np.random.default_rng(7).normal(size=(24, 24, 1, 1)).astype(np.float32)
    layers = (
        *GRAPH.layers[:2],
        replace(conv("one", "wide", (24, 24, 1, 1)), weight=shared),
        replace(conv("other", "one", (24, 24, 1, 1)), weight=shared),
    )
    graph = replace(GRAPH, layers=layers, outputs=("other",))
    ranges = dict.fromkeys(graph.shapes, (-9.0, 10.0))
    nearest = quantize_layers(graph, ["wide"], ranges, Quantization("full", "qat"))
    grams = gather_grams(graph, contract, pictures[:1])
    together = rounded_together(graph, nearest, grams, nearest.stored)
    assert together.convs == nearest.convs
    kernel, before = together.stored["one"], nearest.stored["one"]
    assert kernel is together.stored["other"]
    assert np.abs(kernel.weight).max() <= nearest.limit_of(layers[2])
    gram = sum(grams[name][0] for name in ("one", "other"))

    def loss(rounded: QuantizedConv) -> float:
        rows = (rounded.values - shared).reshape(24, -1).astype(np.float64)
        return float(np.einsum("oi,ij,oj->", rows, gram, rows))

    assert loss(kernel) < 0.7 * loss(before)


def test_inputs_that_have_nothing_in_common_leave_each_weight_to_itself() -> None:
    ranges = dict.fromkeys(GRAPH.shapes, (-9.0, 10.0))
    nearest = quantize_layers(GRAPH, INTEGER, ranges, Quantization("full", "ptq"))
    grams = {
        name: np.stack([np.diag(np.arange(layer.weight[0].size) / 7)] * layer.groups)
        for name, layer in CONVS.items()
    }  # the first input is always 0
    together = rounded_together(GRAPH, nearest, grams, INTEGER)
    for name, before in nearest.convs.items():
        assert np.array_equal(together.convs[name].weight, before.weight)


def test_inputs_that_are_always_0_do_no_harm() -> None:
    ranges = dict.fromkeys(GRAPH.shapes, (-9.0, 10.0))
    nearest = quantize_layers(GRAPH, INTEGER, ranges, Quantization("full", "ptq"))
    grams = {n: np.zeros((x.groups, *[x.weight[0].size] * 2)) for n, x in CONVS.items()}
    together = rounded_together(GRAPH, nearest, grams, INTEGER)
    for name, before in nearest.convs.items():
        assert np.array_equal(together.convs[name].weight, before.weight)
