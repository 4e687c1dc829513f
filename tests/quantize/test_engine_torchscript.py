"""PyTorch's engines against their emulation: every code, and what must not pass for one."""

import dataclasses
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.export.graph import (
    INPUT_NAME,
    Activation,
    Add,
    Concat,
    Conv,
    Graph,
    MaxPool,
    Pads,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
)
from mobileyolact.export.quantized import SUM_FACTORS, QuantizedConv, QuantizedLayers
from mobileyolact.export.torchscript_int8 import write_torchscript_int8
from mobileyolact.export.trace import build_graph
from mobileyolact.quantize.engines.torchscript import check, emulate, run_all
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import Scope, choose_convs
from mobileyolact.runtime.backends.torchscript import quantized_engine, without_deprecation

ASSET = Path(__file__).parents[2] / "src/mobileyolact/assets/coco/n-416.safetensors"
SIZE = 64
ENGINES = [e for e in ("fbgemm", "onednn") if e in torch.backends.quantized.supported_engines]

Image = np.ndarray[Any, np.dtype[np.float32]]
Written = tuple[Graph, QuantizedLayers, Path]


def picture(shape: tuple[int, ...], seed: int = 0) -> Image:
    """A smooth picture with some noise, as a network reads it: float32 (1, ``shape``)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, shape[0], 9, 9, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    return (smooth + 0.1 * torch.randn(1, *shape, generator=generator)).numpy()


def quantize(graph: Graph, convs: Collection[str], share: float = 1.0) -> QuantizedLayers:
    """Integer ``convs``, with ``share`` of the ranges that the tensors have for a picture."""
    ranges = {}

    def see(name: str, value: Any) -> Any:
        ranges[name] = (share * float(value.min()), share * float(value.max()))
        return value

    with torch.inference_mode():
        images = torch.from_numpy(picture(graph.input_shape))
        execute(graph, images, stored_weights(graph), see)
    return quantize_layers(graph, convs, ranges, Quantization("full", "ptq"))


@pytest.fixture(scope="module")
def write(
    tmp_path_factory: pytest.TempPathFactory,
    make_network: Callable[..., tuple[Any, ModelContract]],
) -> Callable[..., Written]:
    @cache
    def write(preset: str, scope: Scope = "full", share: float = 1.0) -> Written:
        network, contract = make_network(preset, size=SIZE)
        graph = build_graph(network, contract)
        record = quantize(graph, choose_convs(graph, scope), share)
        path = tmp_path_factory.mktemp("int8") / "a"
        write_torchscript_int8(graph, record, contract, path)
        return graph, record, path

    return write


def differing(graph: Graph, record: QuantizedLayers, path: Path, image: Image) -> set[str]:
    return {found.layer for found, _ in check(graph, record, path, image) if found.differing}


@pytest.mark.parametrize(
    ("preset", "scope"),
    [("n-320", "full"), ("n-320", "backbone"), ("s-320", "full"), ("paper-320", "full")],
)
def test_no_code_differs(preset: str, scope: Scope, write: Callable[..., Written]) -> None:
    graph, record, path = write(preset, scope)
    found = check(graph, record, path, picture(graph.input_shape, seed=1))
    coded = [layer for layer in graph.layers if record.tensors.keys() & {*layer.outputs}]
    assert [x.layer for x, _ in found] == [layer.name for layer in coded] * len(ENGINES)
    for agreement, allowed in found:
        assert (agreement.differing, allowed.share, allowed.largest) == (0, 0, 0), agreement
    shapes = graph.shapes
    codes = sum(np.prod(shapes[name]) for name in record.tensors if name != INPUT_NAME)
    assert sum(x.codes for x, _ in found) == codes * len(ENGINES)


def test_values_beyond_the_ranges_stay_within_codes_and_saturate_nothing(
    write: Callable[..., Written],
) -> None:
    """Else kernels of 7 bits and more would overflow the 16 bits of AVX2."""
    graph, record, path = write("s-320", share=0.2)
    image = picture(graph.input_shape, seed=1)
    assert not differing(graph, record, path, image)
    tensors = run_all(graph, path, image, ENGINES[0])
    greatest = 0
    for name, codes in record.tensors.items():
        values = tensors[name].int_repr().numpy().astype(int) - codes.zero_point
        assert codes.low <= values.min() and values.max() <= 127
        greatest += values.max() == 127
    assert greatest > 100


def test_what_is_compared_is_what_the_file_computes(write: Callable[..., Written]) -> None:
    graph, _, path = write("n-320")
    image = picture(graph.input_shape, seed=1)
    for engine in ENGINES:
        tensors = run_all(graph, path, image, engine)
        with without_deprecation(), quantized_engine(engine), torch.inference_mode():
            outputs = torch.jit.load(path)(torch.from_numpy(image))
        for name, output in zip(graph.outputs, outputs, strict=True):
            computed = tensors[name]
            assert torch.equal(computed.dequantize() if computed.is_quantized else computed, output)


def change(record: QuantizedLayers, name: str, at: int) -> QuantizedLayers:
    """The record with one code of one kernel moved by one."""
    conv = record.convs[name]
    weight = conv.weight.copy()
    weight.ravel()[at] += 1 if weight.ravel()[at] <= 0 else -1
    return dataclasses.replace(
        record, convs={**record.convs, name: QuantizedConv(weight, conv.steps)}
    )


def test_a_layer_that_is_computed_otherwise_is_found_and_no_other(
    write: Callable[..., Written],
) -> None:
    graph, record, path = write("s-320")
    image = picture(graph.input_shape, seed=1)
    name = next(x.name for x in graph.layers if x.name in record.convs and x.groups == 1)
    assert differing(graph, change(record, name, 5), path, image) == {name}

    def biased(layer: Any) -> Any:
        if layer.name != name:
            return layer
        return dataclasses.replace(layer, bias=layer.bias + np.float32(0.01))

    moved = Graph(tuple(map(biased, graph.layers)), graph.input_shape, graph.outputs)
    assert differing(moved, record, path, image) == {name}


def test_fbgemm_leaves_no_convolution_open_and_onednn_hardly_any(
    write: Callable[..., Written],
) -> None:
    graph, record, path = write("n-320")
    image = picture(graph.input_shape, seed=1)
    for engine in ENGINES:
        tensors = run_all(graph, path, image, engine)
        left_open = total = 0
        for layer in graph.layers:
            if layer.name in record.convs:
                ((low, high),) = emulate(layer, record, tensors, engine).values()
                left_open += np.count_nonzero(low != high)
                total += low.size
        assert left_open <= (0 if engine == "fbgemm" else 3e-4 * total)


def test_qnnpack_computes_the_same_but_for_its_bias(write: Callable[..., Written]) -> None:
    """As on Arm, whose PyTorch has no FBGEMM."""
    if "qnnpack" not in torch.backends.quantized.supported_engines:
        pytest.skip("this PyTorch is built without QNNPACK")
    for preset in ("n-320", "s-320"):
        graph, record, path = write(preset)
        tensors = run_all(graph, path, picture(graph.input_shape, seed=1), "qnnpack")
        for layer in graph.layers:
            if not record.tensors.keys() & {*layer.outputs}:
                continue
            for name, (low, high) in emulate(layer, record, tensors, "qnnpack").items():
                codes = (
                    tensors[name].int_repr()[0].numpy().astype(int) - tensors[name].q_zero_point()
                )
                assert ((low <= codes) & (codes <= high)).all(), layer.name
                assert (high - low).max() <= 1


def conv(name: str, source: str, out: int, inputs: int, kind: Any = None) -> Conv:
    """A convolution that writes the tensor ``name``."""
    rng = np.random.default_rng(ord(name[0]))
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=(rng.normal(size=(out, inputs, 3, 3)) / np.sqrt(9 * inputs)).astype(np.float32),
        bias=rng.normal(size=out).astype(np.float32),
        pads=Pads(1, 1, 1, 1),
        activation=None if kind is None else Activation(kind, 0.1),
    )


def chain() -> Graph:
    """Every other layer between integer convolutions, also where codes and floats meet."""

    def plain(kind: Any, name: str, *inputs: str, outputs: Any = None, **more: Any) -> Any:
        return kind(name=name, inputs=inputs, outputs=outputs or (name,), **more)

    return Graph(
        (
            conv("stem", INPUT_NAME, 8, 3, "leaky_relu"),
            conv("a", "stem", 8, 8, "relu"),
            plain(MaxPool, "pool", "a", kernel=3, stride=2, padding=1),
            plain(Resize, "near", "pool", mode="nearest", scale=2),
            plain(Split, "split", "near", outputs=("left", "right")),
            plain(Concat, "joined", "left", "right", "left", axis=0),
            plain(Shuffle, "shuffled", "joined", groups=2),
            conv("b", "shuffled", 8, 12, "relu6"),
            conv("aside", INPUT_NAME, 8, 3),  # reads the picture, so it stays float
            plain(Add, "sum", "b", "aside"),
            conv("c", "sum", 8, 8, "leaky_relu"),
            plain(ResizeTo, "resized", "c", size=(11, 13)),
            plain(ResizeTo, "back", "resized", size=(16, 16)),
            plain(Add, "total", "back", "a"),
            conv("d", "total", 8, 8),
            conv("y", "d", 4, 8),
        ),
        (3, 16, 16),
        ("y",),
    )


def test_every_layer_and_every_mixture_of_codes_and_floats(
    make_contract: Callable[..., ModelContract], tmp_path: Path
) -> None:
    graph = chain()
    record = quantize(graph, {"a", "b", "c", "d"})
    write_torchscript_int8(graph, record, make_contract(), tmp_path / "a")
    for seed in range(3):
        found = check(graph, record, tmp_path / "a", picture(graph.input_shape, seed))
        assert len(found) == 14 * len(ENGINES)
        assert not [x for x, _ in found if x.differing]


def test_sums_far_below_zero_are_nearer_in_bytes_of_larger_steps(
    make_contract: Callable[..., ModelContract], tmp_path: Path
) -> None:
    leaky = conv("c", "stem", 8, 8, "leaky_relu")
    leaky.bias[:] = -2.3
    graph = Graph(
        (conv("stem", INPUT_NAME, 8, 3), leaky, conv("y", "c", 4, 8)), (3, 16, 16), ("y",)
    )
    image = torch.from_numpy(picture(graph.input_shape))
    (exact,) = execute(graph, image, stored_weights(graph))
    for share in (0.5, 1.0):  # the former cuts off what is greatest
        record = quantize(graph, {"c"}, share)
        noise = []
        for factor in SUM_FACTORS:
            layer = dataclasses.replace(record.convs["c"], sum_factor=factor)
            changed = dataclasses.replace(record, convs={"c": layer})
            write_torchscript_int8(graph, changed, make_contract(), tmp_path / "a")
            assert not differing(graph, changed, tmp_path / "a", image.numpy()), factor
            output = run_all(graph, tmp_path / "a", image.numpy(), ENGINES[0])["y"]
            noise.append(float((output - exact).square().mean()))
    assert SUM_FACTORS[0] == 1 and min(noise[1:]) < 0.1 * noise[0]


@pytest.mark.slow
def test_the_embedded_model_has_no_code_that_differs(tmp_path: Path) -> None:
    from mobileyolact.model.weights import load_checkpoint

    network, contract = load_checkpoint(ASSET)
    graph = build_graph(network, contract)
    for scope in ("full", "backbone"):
        record = quantize(graph, choose_convs(graph, scope))
        write_torchscript_int8(graph, record, contract, tmp_path / "a")
        for seed in (1, 2):
            assert not differing(graph, record, tmp_path / "a", picture(graph.input_shape, seed))
