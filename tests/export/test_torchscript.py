"""What a TorchScript file holds, and that nothing of this package is needed to run it."""

import json
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import OUTPUT_NAMES, ModelContract
from mobileyolact.export.torchscript import write_torchscript
from mobileyolact.export.trace import build_graph

SIZE = 64

# Any program that has PyTorch: this package cannot be imported there.
READER = """
import json, sys
sys.modules["mobileyolact"] = None
import numpy, torch
extra = {"contract.json": ""}
module = torch.jit.load(sys.argv[1], _extra_files=extra)
contract = json.loads(extra["contract.json"])
image = torch.from_numpy(numpy.load(sys.argv[2]))
outputs = module(image)
assert type(outputs) is tuple and all(type(o) is torch.Tensor for o in outputs)
assert [list(o.shape) for o in outputs] == [o["shape"] for o in contract["outputs"]]
numpy.savez(sys.argv[3], **{o["name"]: x for o, x in zip(contract["outputs"], outputs)})
"""


@pytest.fixture
def written(tmp_path: Path, make_network: Callable[..., Any]) -> tuple[Path, Any, ModelContract]:
    """A TorchScript file with the network and the contract that it was made from."""
    network, contract = make_network("n-320", size=SIZE)
    path = tmp_path / "net.torchscript"
    write_torchscript(build_graph(network, contract), contract, path)
    return path, network, contract


def load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load`", DeprecationWarning)
        return torch.jit.load(path)


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_plain_pytorch_runs_it_without_this_package(
    written: tuple[Path, Any, ModelContract], tmp_path: Path, decibels: Any
) -> None:
    path, network, _ = written
    image = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    files = [path, tmp_path / "image.npy", tmp_path / "outputs.npz"]
    subprocess.run([sys.executable, "-I", "-c", READER, *files], check=True)
    outputs = np.load(tmp_path / "outputs.npz")
    assert outputs.files == list(OUTPUT_NAMES)
    with torch.inference_mode():
        reference = network(torch.from_numpy(image)).raw
    for name, expected in zip(OUTPUT_NAMES, reference, strict=True):
        assert decibels(expected.numpy(), outputs[name]) > 55  # kernels are rounded to float16


def test_it_is_frozen_folded_and_in_halves_with_channels_last(
    written: tuple[Path, Any, ModelContract],
) -> None:
    module = load(written[0])
    assert not module.state_dict()
    kinds = [node.kind() for node in module.graph.nodes()]
    assert not [kind for kind in kinds if "norm" in kind or kind == "prim::CallMethod"]
    convolutions = [n for n in module.graph.nodes() if n.kind() == "aten::_convolution"]
    assert len(convolutions) > 100
    for node in convolutions:
        _, cast, bias, *_ = node.inputs()
        kernel = next(cast.node().inputs()).node().t("value")
        assert kernel.dtype == (torch.half if kernel.numel() > 512 else torch.float)
        assert kernel.is_contiguous(memory_format=torch.channels_last)
        assert bias.node().t("value").dtype == torch.float


def test_the_contract_lies_in_the_archive(written: tuple[Path, Any, ModelContract]) -> None:
    path, _, contract = written
    content = entries(path)
    assert ModelContract.from_json(content["archive/extra/contract.json"].decode()) == contract
    assert json.loads(content["archive/extra/contract.json"])["name"] == "n-320"


def test_nothing_of_the_writing_process_is_left(written: tuple[Path, Any, ModelContract]) -> None:
    for name, data in entries(written[0]).items():
        assert "mangle" not in name
        for word in (b"mangle", b"site-packages", Path(__file__).parent.name.encode() + b"/"):
            assert word not in data, name
        for folder in (Path(torch.__file__).parent, Path(__file__).parents[2], Path.cwd()):
            assert str(folder).encode() not in data, name


def test_writing_changes_nothing_of_pytorch(
    tmp_path: Path, make_network: Callable[..., Any]
) -> None:
    network, contract = make_network("n-320", size=SIZE)
    graph = build_graph(network, contract)
    state = torch.get_rng_state()
    threads, filters = torch.get_num_threads(), list(warnings.filters)
    write_torchscript(graph, contract, tmp_path / "net.torchscript")
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_num_threads(), list(warnings.filters)) == (threads, filters)
    assert torch.is_grad_enabled()
