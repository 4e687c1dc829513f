from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from toy_training import ToyNetwork, toy_config

from mobileyolact.errors import OptionError, TrainingError
from mobileyolact.train.checkpoint import (
    TrainingState,
    check_same_run,
    read_state,
    remove_leftovers,
    restore_state,
    save_state,
)


def trained() -> tuple[ToyNetwork, "torch.optim.Optimizer"]:
    network = ToyNetwork().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for seed in range(3):
        images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        sum(network(images)).square().sum().backward()
        optimizer.step()
    return network, optimizer


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    network, optimizer = trained()
    ema = ToyNetwork()
    config = toy_config(seed=5)
    state = TrainingState(7, 0.25, config, {"preset": "n-416"})
    save_state(tmp_path / "last.safetensors", state, network, ema, optimizer)
    assert read_state(tmp_path / "last.safetensors") == state

    other, other_ema = ToyNetwork().to(memory_format=torch.channels_last), ToyNetwork()
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=1e-2)
    restore_state(tmp_path / "last.safetensors", other, other_ema, other_optimizer)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        for slot, value in optimizer.state[a].items():
            restored = other_optimizer.state[b][slot]
            assert torch.equal(restored, value)
            assert restored.stride() == value.stride()
            assert restored.dtype == value.dtype


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    network, optimizer = trained()
    state = TrainingState(1, None, toy_config(), {})
    save_state(tmp_path / "last.safetensors", state, network, ToyNetwork(), optimizer)
    (tmp_path / ".last.safetensors.0badcafe.part").write_bytes(b"half")
    (tmp_path / ".other.safetensors").write_bytes(b"not ours")
    remove_leftovers(tmp_path / "last.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.safetensors", "last.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_state_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.safetensors"
    network, optimizer = trained()
    save_state(path, TrainingState(1, None, toy_config(), {}), network, ToyNetwork(), optimizer)
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "noise": b"x" * 50, "empty": b""}[damage])
    with pytest.raises(TrainingError, match="last.safetensors cannot be read"):
        read_state(path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    network, optimizer = trained()
    save_state(path, TrainingState(1, None, toy_config(), {}), network, ToyNetwork(), optimizer)
    other = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(TrainingError, match="another shape"):
        restore_state(path, other, other, torch.optim.AdamW(other.parameters()))


def test_the_differing_option_is_named(tmp_path: Path) -> None:
    state = TrainingState(3, None, toy_config(seed=1), {"preset": "n-416"})
    check_same_run(state, toy_config(seed=1, workers=3), {"preset": "n-416"}, tmp_path)
    with pytest.raises(OptionError, match="seed 1, but this command says 2"):
        check_same_run(state, toy_config(seed=2), {"preset": "n-416"}, tmp_path)
    with pytest.raises(OptionError, match="preset n-416, but this command says n-320"):
        check_same_run(state, toy_config(seed=1), {"preset": "n-320"}, tmp_path)
    with pytest.raises(OptionError, match="batch-size 4, but this command says 5"):
        check_same_run(state, toy_config(seed=1, batch_size=5), {"preset": "n-416"}, tmp_path)
