"""Contracts made by hand, and the engines alone (without this package's runtime)."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mobileyolact.contract import ClassInfo, ModelContract

Array = NDArray[np.float32]
Run = Callable[[Path, Array, tuple[str, ...]], list[Array]]

CLASSES = tuple(ClassInfo(i, name, i + 1) for i, name in enumerate("abc"))


@pytest.fixture
def make_contract(make_contract: Callable[..., ModelContract]) -> Callable[..., ModelContract]:
    """A contract of 3 classes, 4 prototypes and one level of stride 8 for an input of 32 x 32."""
    return partial(
        make_contract,
        prototypes=4,
        input_size=(32, 32),
        classes=CLASSES,
        strides=(8,),
        std=(255.0, 255.0, 255.0),
        coefficient_activation="tanh",
    )


def run_onnx(path: Path, image: Array, outputs: tuple[str, ...]) -> list[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return [result[0] for result in session.run(list(outputs), {"image": image[None]})]


def run_ncnn(path: Path, image: Array, outputs: tuple[str, ...]) -> list[Array]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(path)) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input("image", ncnn.Mat(image).clone())
    results = []
    for name in outputs:
        code, mat = extractor.extract(name)
        assert code == 0
        results.append(np.array(mat))
    return results


def run_torchscript(path: Path, image: Array, outputs: tuple[str, ...]) -> list[Array]:
    """Without names: the outputs come in the order in which they were asked for."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)
        results = torch.jit.load(path)(torch.from_numpy(image)[None])
    assert len(results) == len(outputs)
    assert all(result.is_contiguous() for result in results)
    return [result[0].numpy() for result in results]


@pytest.fixture
def run() -> dict[str, Run]:
    """By format: map a file, an image (3, H, W) and output names to arrays without batch."""
    return {"onnx": run_onnx, "ncnn": run_ncnn, "torchscript": run_torchscript}


@pytest.fixture
def decibels() -> Callable[[Array, Array], float]:
    """Signal to noise ratio of the second array to the first; 300 where nothing differs."""

    def measure(reference: Array, candidate: Array) -> float:
        assert reference.shape == candidate.shape
        noise = np.square(reference.astype(np.float64) - candidate).sum()
        signal = np.square(reference.astype(np.float64)).sum()
        return 300.0 if noise == 0 else float(10 * np.log10(signal / noise))

    return measure
