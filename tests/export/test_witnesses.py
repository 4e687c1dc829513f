"""Two exporters that share nothing with ours say the same: torch.onnx and pnnx."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mobileyolact.contract import OUTPUT_NAMES
from mobileyolact.export import ncnn, onnx  # noqa: F401
from mobileyolact.export.formats import EXPORTERS
from mobileyolact.export.trace import build_graph

# Both exporters raise deprecation warnings of PyTorch's own parts.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# Of the last, no stride divides the side.
NETWORKS = [("n-320", 224), ("s-320", 224), ("paper-320", 150)]


class Raw(torch.nn.Module):
    """The network without what serves training alone: tracing wants nothing but tensors."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Any) -> Any:
        return self.network(images).raw


def random_image(size: int) -> Any:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))


def ours(format: str, network: Any, contract: Any, folder: Path) -> Path:
    exporter = EXPORTERS[format]
    path = exporter.files(folder, "ours")[0]
    exporter.write(build_graph(network, contract), contract, path)
    return path


@pytest.mark.parametrize(("preset", "size"), NETWORKS)
def test_torch_onnx_agrees(
    preset: str,
    size: int,
    tmp_path: Path,
    make_network: Callable[..., Any],
    run: Any,
    decibels: Any,
) -> None:
    pytest.importorskip("onnxscript")
    import onnx as library

    network, contract = make_network(preset, size=size)
    image = random_image(size)
    witness = tmp_path / "witness.onnx"
    torch.onnx.export(
        Raw(network),
        (image,),
        witness,
        input_names=["image"],
        output_names=list(OUTPUT_NAMES),
        external_data=False,
        verbose=False,
    )
    path = ours("onnx", network, contract, tmp_path)
    results = [run["onnx"](p, image[0].numpy(), OUTPUT_NAMES) for p in (witness, path)]
    assert min(map(decibels, *results)) > 55
    convolutions = [
        Counter(
            tuple(a.i for a in node.attribute if a.name == "group")
            for node in library.load(str(p)).graph.node
            if node.op_type == "Conv"
        )
        for p in (witness, path)
    ]
    assert convolutions[0] == convolutions[1]


@pytest.mark.parametrize(("preset", "size"), NETWORKS)
def test_pnnx_agrees(
    preset: str,
    size: int,
    tmp_path: Path,
    make_network: Callable[..., Any],
    run: Any,
    decibels: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pnnx = pytest.importorskip("pnnx")
    monkeypatch.chdir(tmp_path)
    network, contract = make_network(preset, size=size)
    image = random_image(size)
    raw = Raw(network).eval().to(memory_format=torch.contiguous_format)
    pnnx.export(raw, str(tmp_path / "witness.pt"), inputs=image, fp16=True)
    witness = (tmp_path / "witness.ncnn.param").read_text()
    for i, name in enumerate(OUTPUT_NAMES):
        witness = witness.replace(f" out{i}", f" {name}")
    (tmp_path / "witness.ncnn.param").write_text(witness.replace(" in0", " image"))

    path = ours("ncnn", network, contract, tmp_path)
    results = [
        run["ncnn"](p, image[0].numpy(), OUTPUT_NAMES)
        for p in (tmp_path / "witness.ncnn.param", path)
    ]
    results[0] = [np.squeeze(a) for a in results[0]]
    assert min(map(decibels, *results)) > 60
    kinds = [
        Counter(line.split()[0] for line in t.splitlines()[2:]) for t in (witness, path.read_text())
    ]
    for kind in ("Convolution", "ConvolutionDepthWise", "Pooling", "Interp", "ShuffleChannel"):
        assert kinds[0][kind] == kinds[1][kind]
