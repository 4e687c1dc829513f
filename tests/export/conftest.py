"""Contracts made by hand, the engines alone (without this package's runtime), and networks."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

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


@pytest.fixture
def make_network() -> Callable[..., tuple[Any, ModelContract]]:
    """A network of a preset with random weights through which rounding errors do not grow.

    With He's weights alone a network of this depth is chaotic: float32 rounding reaches 87 dB
    and float16 weights 24 dB. Batch norm that shifts its outputs to the positive side and
    damps them keeps both near those of trained networks.
    """
    torch = pytest.importorskip("torch")
    from mobileyolact.model.network import build_contract, build_network
    from mobileyolact.model.presets import get_preset

    def make(
        preset: str = "n-320", size: int | None = None, seed: int = 0
    ) -> tuple[Any, ModelContract]:
        chosen = get_preset(preset)
        network = build_network(chosen, len(CLASSES), seed).eval()
        generator = torch.Generator().manual_seed(seed + 1)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                with torch.no_grad():
                    module.weight.uniform_(0.4, 0.6, generator=generator)
                    module.bias.uniform_(0.5, 1.5, generator=generator)
                    module.running_mean.normal_(0.0, 0.1, generator=generator)
                    module.running_var.uniform_(0.8, 1.2, generator=generator)
        with torch.no_grad():  # a new network finds nothing: its scores and boxes start flat
            for level in getattr(network.head, "levels", [network.head]):
                level.scores.weight.mul_(60)
                level.boxes.weight.mul_(10)
        return network, build_contract(chosen, CLASSES, (size, size) if size else None)

    return make


@pytest.fixture
def checkpoint(tmp_path: Path, make_network: Callable[..., Any]) -> Path:
    """A checkpoint of n-320 at 64 pixels with random weights that find a few instances."""
    torch = pytest.importorskip("torch")
    from mobileyolact.model.weights import save_checkpoint

    network, contract = make_network("n-320", size=64)
    with torch.no_grad():
        for level in network.head.levels:
            level.scores.bias.fill_(-2.5)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network, contract)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate([(60, 90), (80, 50)]):
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(coarse).resize((width, height)).save(paths[-1])
    return paths
