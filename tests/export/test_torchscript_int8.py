"""What an int8 TorchScript file holds, and that plain PyTorch runs it, by any of its engines."""

import dataclasses
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import OUTPUT_NAMES, ModelContract, Quantization
from mobileyolact.errors import ModelError
from mobileyolact.export import torchscript_int8
from mobileyolact.export.formats import INT8_EXPORTERS
from mobileyolact.export.graph import Conv, Graph, Pads
from mobileyolact.export.half import SMALL
from mobileyolact.export.quantized import (
    SLOPE_FACTOR,
    SUM_FACTORS,
    Codes,
    QuantizedConv,
    QuantizedLayers,
    quantize_kernel,
)
from mobileyolact.export.torchscript_int8 import write_torchscript_int8
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.torchscript import (
    int8_engine,
    quantized_engine,
    without_deprecation,
)

SIZE = 64
IMAGE = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
ENGINES = [e for e in torch.backends.quantized.supported_engines if e != "none"]

# Any program that has PyTorch: this package cannot be imported there.
READER = """
import json, sys
sys.modules["mobileyolact"] = None
import numpy, torch
torch.set_num_threads(1)
image = torch.from_numpy(numpy.load(sys.argv[2]))
extra = {"contract.json": ""}
results = {}
for engine in sys.argv[4:]:
    torch.backends.quantized.engine = engine
    module = torch.jit.load(sys.argv[1], _extra_files=extra)
    contract = json.loads(extra["contract.json"])
    outputs = module(image)
    assert [list(o.shape) for o in outputs] == [o["shape"] for o in contract["outputs"]]
    assert all(o.dtype == torch.float32 and o.is_contiguous() for o in outputs)
    for output, x in zip(contract["outputs"], outputs):
        results[engine + "." + output["name"]] = x
numpy.savez(sys.argv[3], **results)
"""

# A process of its own, as PyTorch says some things once in a process only.
QUIET = """
import sys
import numpy
from mobileyolact.runtime.backends import open_backend
backend = open_backend(sys.argv[1])
backend.run(numpy.load(sys.argv[2]))
"""

Written = tuple[Path, Graph, QuantizedLayers, ModelContract]


@pytest.fixture(scope="module")
def write(
    tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Any]
) -> Callable[[str], Written]:
    """Writes an int8 file of a preset once, with ranges as the tensors have for ``IMAGE``."""

    @cache
    def write(preset: str) -> Written:
        network, contract = make_network(preset, size=SIZE)
        graph = build_graph(network, contract)
        ranges = {}

        def see(name: str, value: Any) -> Any:
            ranges[name] = (float(value.min()), float(value.max()))
            return value

        with torch.inference_mode():
            execute(graph, torch.from_numpy(IMAGE), stored_weights(graph), see)
        convs, summary = choose_convs(graph, "full"), Quantization("full", "ptq")
        record = quantize_layers(graph, convs, ranges, summary)
        contract = dataclasses.replace(contract, quantization=summary)
        exporter = INT8_EXPORTERS["torchscript"]
        (path,) = exporter.files(tmp_path_factory.mktemp("int8"), preset)
        exporter.write(graph, record, contract, path)
        return path, graph, record, contract

    return write


def load(path: Path) -> Any:
    with without_deprecation(), quantized_engine(ENGINES[0]):
        return torch.jit.load(path)


def test_plain_pytorch_runs_it_by_every_engine_and_to_the_same_bits(
    write: Callable[[str], Written], tmp_path: Path, decibels: Any
) -> None:
    path, graph, _, _ = write("s-320")
    np.save(tmp_path / "image.npy", IMAGE)
    files = [path, tmp_path / "image.npy", tmp_path / "outputs.npz"]
    subprocess.run([sys.executable, "-I", "-c", READER, *files, *ENGINES], check=True)
    plain = np.load(tmp_path / "outputs.npz")
    backend = open_backend(path)
    engine = int8_engine("")
    assert backend.describe().startswith(f"torchscript int8 by {engine} in PyTorch")
    with torch.inference_mode():
        floats = execute(graph, torch.from_numpy(IMAGE), stored_weights(graph))
    for name, output, reference in zip(OUTPUT_NAMES, backend.run(IMAGE), floats, strict=True):
        np.testing.assert_array_equal(output, plain[f"{engine}.{name}"])
        for other in ENGINES:
            assert decibels(reference.numpy(), plain[f"{other}.{name}"]) > 20, (other, name)


def test_nothing_is_printed_when_it_is_loaded_and_run(
    write: Callable[[str], Written], tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", IMAGE)
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        QUIET,
        write("n-320")[0],
        tmp_path / "image.npy",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("preset", ["n-320", "s-320", "paper-320"])
def test_integer_layers_are_quantized_operators_with_the_kernels_of_the_record(
    preset: str, write: Callable[[str], Written]
) -> None:
    path, graph, record, _ = write(preset)
    module = load(path)
    assert not module.state_dict()
    nodes = list(module.graph.nodes())
    kinds = Counter(node.kind() for node in nodes)
    assert "prim::CallMethod" not in kinds
    convs = [x for x in graph.layers if isinstance(x, Conv)]
    integer = [x for x in convs if x.name in record.convs]
    assert kinds["aten::_convolution"] == len(convs) - len(integer)
    leaky = [x for x in integer if x.activation and x.activation.kind == "leaky_relu"]
    assert kinds["quantized::leaky_relu"] == len(leaky)
    packed = [list(n.inputs())[1].toIValue() for n in nodes if n.kind() == "quantized::conv2d"]
    assert len(packed) == len(integer) > 80
    for layer, parameters in zip(integer, packed, strict=True):
        kernel, bias = torch.ops.quantized.conv2d_unpack(parameters)
        codes, height, width = kernel.int_repr().numpy(), *layer.weight.shape[2:]
        if layer.pads.left != layer.pads.right:  # only these grow, and by zeros
            codes = codes[:, :, -height:, -width:]
        np.testing.assert_array_equal(codes, record.convs[layer.name].weight)
        assert kernel.int_repr().sum() == codes.sum()
        np.testing.assert_array_equal(kernel.q_per_channel_scales(), record.convs[layer.name].steps)
        np.testing.assert_array_equal(bias.detach(), layer.bias)


def test_kernels_that_stay_float_are_bytes_and_steps(write: Callable[[str], Written]) -> None:
    path, graph, record, _ = write("n-320")
    nodes = [n for n in load(path).graph.nodes() if n.kind() == "aten::_convolution"]
    layers = [x for x in graph.layers if isinstance(x, Conv) and x.name not in record.convs]
    for layer, node in zip(layers, nodes, strict=True):
        cast, steps, *_ = list(node.inputs())[1].node().inputs()
        kernel = record.stored.get(layer.name)
        if kernel is None:
            assert layer.weight.size <= SMALL
            np.testing.assert_array_equal(cast.node().t("value"), layer.weight)
            continue
        codes = next(cast.node().inputs()).node().t("value")
        np.testing.assert_array_equal(codes, kernel.weight)
        np.testing.assert_array_equal(steps.node().t("value").ravel(), kernel.steps)


def test_it_is_small(write: Callable[[str], Written]) -> None:
    for preset in ("n-320", "s-320"):
        path, graph, _, _ = write(preset)
        convs = [x for x in graph.layers if isinstance(x, Conv)]
        assert path.stat().st_size < 0.28 * 4 * sum(x.weight.size + x.bias.size for x in convs)


@pytest.mark.parametrize("engine", [e for e in ("onednn", "qnnpack") if e in ENGINES])
def test_the_bytes_are_the_same_on_x86_and_on_arm(
    engine: str, write: Callable[[str], Written], tmp_path: Path, monkeypatch: Any
) -> None:
    path, graph, record, contract = write("n-320")
    monkeypatch.setattr(torchscript_int8, "int8_engine", lambda what: engine)
    write_torchscript_int8(graph, record, contract, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_without_quantized_operators_one_line_says_so_and_nothing_is_written(
    write: Callable[[str], Written], tmp_path: Path, monkeypatch: Any
) -> None:
    path, graph, record, contract = write("n-320")
    monkeypatch.setattr(torch.backends, "quantized", SimpleNamespace(supported_engines=["none"]))
    message = r"has no quantized operators here; take the int8 ONNX file, or a PyTorch between"
    with pytest.raises(ModelError, match=rf"{path.name} cannot run, because .* {message}"):
        open_backend(path)
    with pytest.raises(ModelError, match=rf"cannot be written, because .* {message}"):
        write_torchscript_int8(graph, record, contract, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def convolution(pads: Pads, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[Any, Any]:
    """A graph of one depthwise convolution at stride 2 after a float one, and its record."""
    rng = np.random.default_rng(1)
    stem = Conv(
        name="stem",
        inputs=("image",),
        outputs=("x",),
        weight=rng.normal(size=(3, 1, 1, 1)).astype(np.float32),
        bias=np.zeros(3, np.float32),
        groups=3,
    )
    layer = Conv(
        name="dw",
        inputs=("x",),
        outputs=("y",),
        weight=rng.normal(size=(3, 1, *kernel)).astype(np.float32),
        bias=rng.normal(size=3).astype(np.float32),
        stride=2,
        pads=pads,
        groups=3,
    )
    tensors = {"x": Codes(0.03125, -127), "y": Codes(0.125, -100)}
    record = QuantizedLayers(
        tensors, {"dw": quantize_kernel(layer.weight, 63)}, Quantization("full", "ptq")
    )
    graph = Graph((stem, layer), (3, *size), ("y",))
    return graph, record


@pytest.mark.parametrize(
    ("pads", "size", "kernel"),
    [
        (Pads(0, 1, 0, 1), (6, 8), (3, 3)),
        (Pads(1, 1, 0, 1), (6, 7), (3, 3)),
        (Pads(0, 1, 1, 1), (5, 8), (3, 3)),
        (Pads(1, 2, 1, 2), (8, 6), (5, 5)),
    ],
)
def test_other_padding_on_opposite_sides_is_a_larger_kernel_with_the_same_sums(
    pads: Pads, size: tuple[int, int], kernel: tuple[int, int]
) -> None:
    graph, record = convolution(pads, size, kernel)
    layer, conv = graph.layers[1], record.convs["dw"]
    weight, padding = torchscript_int8._padded_alike(layer, conv.weight, (3, *size))
    assert weight.shape[2] == weight.shape[3] == 2 * padding[0] + 1
    x = torch.from_numpy(np.random.default_rng(2).integers(-127, 128, (1, 3, *size))).double()
    padded = torch.nn.functional.pad(x, (pads.left, pads.right, pads.top, pads.bottom))
    expected = torch.conv2d(padded, torch.from_numpy(conv.weight).double(), stride=2, groups=3)
    sums = torch.conv2d(x, torch.from_numpy(weight).double(), None, 2, padding, groups=3)
    torch.testing.assert_close(sums, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("pads", "size"), [(Pads(0, 1, 0, 1), (6, 7)), (Pads(2, 1, 2, 1), (6, 8))])
def test_padding_without_such_a_kernel_is_refused(
    pads: Pads, size: tuple[int, int], make_contract: Any, tmp_path: Path
) -> None:
    graph, record = convolution(pads, size, (3, 3))
    with pytest.raises(ModelError, match="no form of the padding of layer 'dw'; leave it float"):
        write_torchscript_int8(graph, record, make_contract(), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_pytorchs_state_is_put_back(make_contract: Any, tmp_path: Path) -> None:
    graph, record = convolution(Pads(1, 1, 1, 1), (8, 8), (3, 3))
    contract = dataclasses.replace(make_contract(), quantization=record.summary)
    before = torch.backends.quantized.engine
    try:
        for engine in ENGINES:
            torch.backends.quantized.engine = engine
            state, filters = torch.get_rng_state(), list(warnings.filters)
            write_torchscript_int8(graph, record, contract, tmp_path / "a.int8.torchscript")
            open_backend(tmp_path / "a.int8.torchscript")
            assert torch.backends.quantized.engine == engine
            assert torch.equal(torch.get_rng_state(), state)
            assert list(warnings.filters) == filters
    finally:
        torch.backends.quantized.engine = before


@pytest.mark.parametrize("factor", SUM_FACTORS)
def test_a_leaky_relu_gives_a_code_the_same_place_wherever_it_stands(factor: float) -> None:
    """Between two codes PyTorch rounds the last few of a tensor otherwise than those before."""
    rng = np.random.default_rng(3)
    conv = QuantizedConv(np.zeros((1, 1, 1, 1), np.int8), np.ones(1, np.float32), factor)
    linear = np.arange(256, dtype=np.uint8)
    sums = (linear.astype(float) - conv.sum_zero) * factor
    slope = 0.1 * SLOPE_FACTOR
    expected = np.rint(np.where(sums < 0, sums * slope, sums))
    with quantized_engine(ENGINES[0]):
        for _ in range(50):
            step, zero = float(np.float32(np.exp(rng.uniform(-8, 1)))), int(rng.integers(65, 128))
            for codes in (np.repeat(linear, 64), linear[:255], linear[113:126]):
                x = torch._make_per_tensor_quantized_tensor(
                    torch.from_numpy(codes), conv.sum_step(Codes(step, -zero)), conv.sum_zero
                )
                y = torch.ops.quantized.leaky_relu(x, slope, False, step, zero)
                np.testing.assert_array_equal(y.int_repr().numpy() - float(zero), expected[codes])
