"""Int8 ONNX files: what they store, and which operations ONNX Runtime makes of them."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import numpy_helper

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.errors import ModelError
from mobileyolact.export.formats import INT8_EXPORTERS
from mobileyolact.export.graph import Add, Conv, Graph
from mobileyolact.export.onnx_int8 import adds_leaky, integer_bias, write_onnx_int8
from mobileyolact.export.products import find_products
from mobileyolact.export.quantized import Codes, QuantizedConv, QuantizedLayers
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.backends import open_backend

SIZE = 64
IMAGE = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)

Written = tuple[Path, Graph, QuantizedLayers, ModelContract]


def quantize(graph: Graph, scope: Any) -> QuantizedLayers:
    """A record with the ranges that the tensors have for ``IMAGE``."""
    ranges = {}

    def see(name: str, value: Any) -> Any:
        ranges[name] = (float(value.min()), float(value.max()))
        return value

    with torch.inference_mode():
        execute(graph, torch.from_numpy(IMAGE), stored_weights(graph), see)
    return quantize_layers(graph, choose_convs(graph, scope), ranges, Quantization(scope, "ptq"))


@pytest.fixture
def write(tmp_path: Path, make_network: Callable[..., Any]) -> Callable[..., Written]:
    def write(preset: str, scope: str = "full") -> Written:
        network, contract = make_network(preset, size=SIZE)
        graph = build_graph(network, contract)
        record = quantize(graph, scope)
        contract = dataclasses.replace(contract, quantization=record.summary)
        (path,) = INT8_EXPORTERS["onnx"].files(tmp_path, preset)
        INT8_EXPORTERS["onnx"].write(graph, record, contract, path)
        return path, graph, record, contract

    return write


def plan(path: Path) -> list[Any]:
    """The nodes that ONNX Runtime runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = f"{path}.plan"
    onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return list(onnx.load(f"{path}.plan").graph.node)


@pytest.mark.parametrize(
    ("preset", "scope"),
    [("n-416", "full"), ("n-416", "backbone"), ("s-320", "full"), ("paper-320", "full")],
)
def test_integer_layers_become_operations_on_bytes(
    preset: str, scope: str, write: Callable[..., Written]
) -> None:
    path, graph, record, contract = write(preset, scope)
    nodes = plan(path)
    operations = Counter(node.op_type.replace("Fused", "") for node in nodes)

    convs = [layer for layer in graph.layers if isinstance(layer, Conv)]
    integer = [layer for layer in convs if layer.name in record.convs]
    assert len(integer) > 40
    last = [x for found in find_products(graph, record).results.values() for x in found]
    assert len(last) == (len(contract.strides) * 3 if scope == "full" else 0)
    assert operations["QLinearConv"] == len(integer)
    assert operations["QGemm"] == len(last)
    assert operations["Conv"] == len(convs) - len(integer) - len(last)
    leaky = [x for x in integer if x.activation and x.activation.kind == "leaky_relu"]
    added = sum(adds_leaky(graph.shapes[x.outputs[0]]) for x in leaky)
    assert operations["QLinearLeakyRelu"] == len(leaky) - added
    coded = record.tensors.keys()
    sums = [x for x in graph.layers if isinstance(x, Add) and coded >= {*x.inputs}]
    assert operations["QLinearAdd"] == len(sums) + added
    # Bytes become floats, and floats bytes, where a layer is computed in float and nowhere else.
    floating = [
        layer
        for layer in graph.layers
        if layer not in [*integer, *last, *sums] and not record.moves(layer)
    ]
    given = sum(name in coded for name in graph.outputs)
    assert given == (scope == "full"), "the prototypes"
    reads = given + sum(name in coded for layer in floating for name in layer.inputs)
    writes = sum(name in coded for layer in floating for name in layer.outputs)
    assert operations["DequantizeLinear"] <= reads
    assert operations["QuantizeLinear"] == writes
    # On bytes the pool of the stem would take ten times longer.
    bytes_ = {n for node in nodes if node.op_type == "QuantizeLinear" for n in node.output}
    assert not [n for n in nodes if n.op_type == "MaxPool" and not bytes_.isdisjoint(n.input)]


@pytest.mark.parametrize("preset", ["n-320", "s-320"])
def test_the_backend_runs_it(
    preset: str, write: Callable[..., Written], decibels: Callable[..., float]
) -> None:
    path, graph, _, contract = write(preset)
    backend = open_backend(path, None, 1)
    assert path.name == f"{preset}.int8.onnx"
    assert backend.contract == contract
    assert backend.contract.quantization == Quantization("full", "ptq")
    with torch.inference_mode():
        expected = execute(graph, torch.from_numpy(IMAGE), stored_weights(graph))
    for reference, result in zip(expected, backend.run(IMAGE), strict=True):
        assert decibels(reference.numpy(), result) > 12


def test_steps_have_no_dimension_and_kernels_one_for_each_output(
    write: Callable[..., Written],
) -> None:
    path, graph, record, _ = write("n-320")
    model = onnx.load(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    read = {name: node for node in model.graph.node for name in node.input}
    steps = [t for name, t in tensors.items() if name.startswith("step.")]
    assert {t.shape for t in steps} == {()}
    assert {t.dtype.name for t in steps} == {"float32"}
    int8 = {name: t for name, t in tensors.items() if t.dtype == np.int8}
    kernels = {name: t for name, t in int8.items() if not name.startswith("zeros.")}
    last = {x.name for found in find_products(graph, record).results.values() for x in found}
    integer = {name: t for name, t in kernels.items() if read[name].op_type == "DequantizeLinear"}
    assert len(integer) == len(record.convs) + len(last)
    for name, kernel in integer.items():
        assert tensors[read[name].input[1]].shape == (kernel.shape[read[name].attribute[0].i],)
    convs = [x for x in graph.layers if isinstance(x, Conv)]
    others = [x for x in convs if x.name not in {*record.convs, *last} and x.weight.size > 64]
    assert len(kernels) - len(integer) == len(others), "float kernels are bytes in the file too"
    assert all(t.ndim == 0 for t in tensors.values() if t.dtype == np.uint8)


def test_same_input_gives_the_same_bytes(write: Callable[..., Written], tmp_path: Path) -> None:
    path, graph, record, contract = write("n-320")
    write_onnx_int8(graph, record, contract, tmp_path / "again" / "net.int8.onnx")
    assert (tmp_path / "again" / "net.int8.onnx").read_bytes() == path.read_bytes()
    assert [file.name for file in (tmp_path / "again").iterdir()] == ["net.int8.onnx"]


def test_a_bias_is_rounded_to_the_unit_of_the_sums() -> None:
    layer = Conv(
        name="y",
        inputs=("x",),
        outputs=("y",),
        weight=np.ones((3, 1, 1, 1), np.float32),
        bias=np.array([1.0, -0.13, 0.0], np.float32),
    )
    conv = QuantizedConv(np.ones((3, 1, 1, 1), np.int8), np.array([0.5, 0.25, 2], np.float32))
    assert integer_bias(layer, conv, Codes(0.125, 0)).tolist() == [16, -4, 0]
    dead = dataclasses.replace(conv, steps=np.array([1e-12, 0.25, 2], np.float32))
    with pytest.raises(ModelError, match="layer 'y' is too large beside its weights"):
        integer_bias(layer, dead, Codes(0.125, 0))
