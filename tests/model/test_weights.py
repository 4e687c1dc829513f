"""Checkpoints: what is written comes back, and what is damaged gives one sentence."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from mobileyolact.contract import CONTRACT_KEY, ClassInfo
from mobileyolact.errors import ContractError, ModelError
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.weights import (
    STATE_KEY,
    load_checkpoint,
    load_matching,
    read_tensors,
    save_checkpoint,
)

PRESET = get_preset("n-320")
CLASSES = (ClassInfo(0, "nut", 7), ClassInfo(1, "bolt", 3))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_checkpoint(path, build_network(PRESET, 2, seed=3), build_contract(PRESET, CLASSES))
    return path


def test_round_trip(checkpoint: Path) -> None:
    network, contract = load_checkpoint(checkpoint)
    assert contract == build_contract(PRESET, CLASSES)
    expected = build_network(PRESET, 2, seed=3).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in network.state_dict().items())
    assert not network.training


def test_a_checkpoint_without_position_stays_one(tmp_path: Path) -> None:
    old = replace(PRESET, position_coefficients=0)
    path = tmp_path / "old.safetensors"
    save_checkpoint(path, build_network(old, 2, seed=3), build_contract(old, CLASSES))
    network, contract = load_checkpoint(path)
    assert contract.outputs[2].shape == (1, 2125, 32)
    assert network.head.levels[0].coefficients.out_channels == 32


def test_half_keeps_norms_and_biases_exact(tmp_path: Path) -> None:
    network = build_network(PRESET, 2, seed=3)
    network.backbone.stem.norm.running_mean.fill_(1 / 3)
    save_checkpoint(tmp_path / "h.safetensors", network, build_contract(PRESET, CLASSES), half=True)
    loaded, _ = load_checkpoint(tmp_path / "h.safetensors")
    assert torch.equal(
        loaded.backbone.stem.norm.running_mean, network.backbone.stem.norm.running_mean
    )
    weight = network.backbone.stem.conv.weight
    assert torch.equal(loaded.backbone.stem.conv.weight, weight.half().float())


def test_the_backend_equals_the_network(checkpoint: Path) -> None:
    backend = TorchBackend.open(checkpoint)
    image = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    raw = backend.run(image.numpy())
    with torch.no_grad():
        outputs = backend.network(image)
    for ours, theirs in zip(raw, outputs.raw, strict=True):
        assert torch.allclose(torch.from_numpy(ours), theirs, atol=1e-5)


def test_a_truncated_file(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_checkpoint(broken)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def test_a_foreign_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ContractError, match="no contract"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_the_state_of_a_training(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "last.safetensors", {STATE_KEY: "{}"})
    with pytest.raises(ContractError, match=r"goes on from.* take best\.safetensors"):
        load_checkpoint(tmp_path / "last.safetensors")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    text = build_contract(PRESET, CLASSES).to_json()
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {CONTRACT_KEY: text})
    with pytest.raises(ModelError, match="do not fit preset n-320"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_other_classes_leave_only_the_score_layers(checkpoint: Path) -> None:
    network = build_network(PRESET, 5)
    left = load_matching(network, read_tensors(checkpoint)[0])
    assert left == [
        f"head.levels.{i}.scores.{part}" for i in range(4) for part in ("weight", "bias")
    ]
