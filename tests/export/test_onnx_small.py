"""ONNX files with kernels of 8 bits: what they store, and what ONNX Runtime makes of them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import numpy_helper

from mobileyolact.contract import ModelContract
from mobileyolact.export.formats import EXPORTERS, SMALL_EXPORTERS
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.onnx_small import write_onnx_small
from mobileyolact.export.trace import build_graph
from mobileyolact.runtime.backends import open_backend

SIZE = 64


def conv(weight: Any) -> Conv:
    bias = np.linspace(-1, 1, len(weight), dtype=np.float32)
    return Conv(name="y", inputs=("image",), outputs=("y",), weight=weight, bias=bias)


def write(
    folder: Path, weight: Any, contract: ModelContract, fetch: tuple[str, ...] = ("y",)
) -> tuple[Path, dict[str, Any]]:
    path = folder / "net.small.onnx"
    write_onnx_small(Graph((conv(weight),), (3, 4, 4), fetch), contract, path)
    return path, {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def test_a_kernel_is_codes_and_a_step_for_each_output_channel(
    tmp_path: Path, run: Any, make_contract: Callable[..., ModelContract]
) -> None:
    weight = np.random.default_rng(0).normal(size=(256, 3, 1, 1)).astype(np.float32)
    weight *= np.geomspace(1e-3, 1e3, 256, dtype=np.float32)[:, None, None, None]
    weight[5] = 0
    path, tensors = write(tmp_path, weight, make_contract())
    codes, steps = tensors["y.weight.codes"], tensors["y.weight.steps"]
    assert codes.dtype == np.int8
    largest = np.abs(codes).reshape(256, -1).max(1)
    assert largest[5] == 0
    assert (np.delete(largest, 5) == 127).all()
    assert (np.abs(codes * steps - weight) <= 0.501 * steps).all()

    # A picture of one bright pixel in one channel reads the kernel back.
    image = np.zeros((3, 4, 4), np.float32)
    image[1, 2, 3] = 1
    (result,) = run["onnx"](path, image, ("y",))
    bias = tensors["y.bias"]
    expected = (codes * steps)[:, 1, 0, 0] + bias
    np.testing.assert_allclose(result[:, 2, 3], expected, rtol=1e-6, atol=1e-6)


def test_a_small_kernel_stays_float32(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    _, tensors = write(tmp_path, np.ones((2, 3, 3, 3), np.float32), make_contract())
    assert {t.dtype for t in tensors.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("preset", ["n-416", "s-320", "paper-320"])
def test_nothing_of_it_is_left_at_run_time(
    preset: str, tmp_path: Path, make_network: Callable[..., Any], decibels: Any
) -> None:
    """The engine's own plan has the operations of the float file, and the file is half of it."""
    import onnxruntime

    network, contract = make_network(preset, size=SIZE)
    graph = build_graph(network, contract)
    paths = []
    for name, registry in (("float", EXPORTERS), ("small", SMALL_EXPORTERS)):
        paths.append(registry["onnx"].files(tmp_path, name)[0])
        registry["onnx"].write(graph, contract, paths[-1])
    assert [path.name for path in paths] == ["float.onnx", "small.small.onnx"]

    plans = []
    for path in paths:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(path) + ".plan"
        onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        plans.append(Counter(n.op_type for n in onnx.load(f"{path}.plan").graph.node))
    assert plans[0] == plans[1]

    image = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    reference, result = (open_backend(path, None, 1).run(image) for path in paths)
    for expected, found in zip(reference, result, strict=True):
        assert 25 < decibels(expected, found) < 100
    weights = sum(x.weight.size for x in graph.layers if isinstance(x, Conv))
    sizes = [path.stat().st_size for path in paths]
    assert sizes[0] - sizes[1] > 0.8 * weights


def test_same_input_gives_the_same_bytes(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    weight = np.random.default_rng(0).normal(size=(32, 3, 3, 3)).astype(np.float32)
    contents = [write(tmp_path / name, weight, make_contract())[0].read_bytes() for name in "ab"]
    assert contents[0] == contents[1]
