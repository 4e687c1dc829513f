"""Int8 files of fewer operations: the same codes in another order."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from mobileyolact.contract import Quantization
from mobileyolact.export import ncnn_int8, onnx_int8, torchscript_int8  # noqa: F401
from mobileyolact.export.faster import faster_int8
from mobileyolact.export.formats import INT8_EXPORTERS
from mobileyolact.export.graph import Conv, Graph, Shuffle
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import Scope, choose_convs
from mobileyolact.runtime.backends import open_backend

SIZE = 64
SEEN, UNSEEN = np.random.default_rng(0).normal(size=(2, 1, 3, SIZE, SIZE)).astype(np.float32)


def quantize(graph: Graph, scope: Scope, keep_float: list[str]) -> QuantizedLayers:
    """A record with the ranges that the tensors have for ``SEEN``."""
    ranges: dict[str, tuple[float, float]] = {}

    def see(name: str, value: Any) -> Any:
        ranges[name] = min(0.0, float(value.min())), max(0.0, float(value.max()))
        return value

    with torch.inference_mode():
        execute(graph, torch.from_numpy(SEEN), stored_weights(graph), see)
    convs = choose_convs(graph, scope, keep_float)
    return quantize_layers(graph, convs, ranges, Quantization(scope, "ptq"))


# Of the convolutions that may be integer ones, a share stays float.
@pytest.mark.parametrize(("scope", "share"), [("full", 0), ("full", 0.3), ("backbone", 0.3)])
@pytest.mark.parametrize("format", list(INT8_EXPORTERS))
def test_outputs_are_those_of_the_graph_as_it_was_trained(
    scope: Scope, share: float, format: str, tmp_path: Path, make_network: Callable[..., Any]
) -> None:
    network, contract = make_network("n-320", size=SIZE)
    before = build_graph(network, contract)
    names = [layer.name for layer in before.layers if isinstance(layer, Conv)]
    # In these samples no float lies so near the middle between two codes that the order decides.
    sample = random.Random(1 if format == "ncnn" else 2)
    kept = sample.sample(names, int(share * len(names)))
    quantized = quantize(before, scope, kept)
    written = {"plain": (before, quantized), "faster": faster_int8(before, quantized, format)}
    outputs = []
    for stem, (graph, layers) in written.items():
        path = INT8_EXPORTERS[format].files(tmp_path, stem)[0]
        INT8_EXPORTERS[format].write(graph, layers, contract, path)
        outputs.append(open_backend(path, None, 1).run(UNSEEN))
    for plain, moved in zip(*outputs, strict=True):
        # Float convolutions add in another order.
        assert np.square(moved - plain).sum() <= 1e-6 * np.square(plain).sum()


def test_shufflenet_shuffles_no_codes(make_network: Callable[..., Any]) -> None:
    graph = build_graph(*make_network("n-320", size=SIZE))
    quantized = quantize(graph, "full", [])
    moved, layers = faster_int8(graph, quantized, "onnx")
    assert Counter(type(x) for x in graph.layers)[Shuffle] == 16
    assert Counter(type(x) for x in moved.layers)[Shuffle] == 0
    assert layers.convs.keys() == quantized.convs.keys()
    assert layers.summary == quantized.summary
