import pytest

pytest.importorskip("torch")

from toy_training import ToyNetwork, toy_config

from mobileyolact.model.network import build_network
from mobileyolact.model.presets import PRESETS
from mobileyolact.train.parameters import parameter_groups, set_mode, set_trainable


def test_groups_have_their_rates_and_decay() -> None:
    network = ToyNetwork()
    config = toy_config(rate_new=1e-3, rate_started=1e-4, weight_decay=0.05)
    started = frozenset(n for n, _ in network.named_parameters() if n.startswith("backbone"))
    groups = parameter_groups(network, config, started)
    by_parameter = {id(p): g for g in groups for p in g["params"]}
    assert len(by_parameter) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        group = by_parameter[id(parameter)]
        assert group["peak"] == (1e-4 if name.startswith("backbone") else 1e-3)
        assert group["weight_decay"] == (0.05 if parameter.ndim == 4 else 0.0)


def test_frozen_parameters_are_in_no_group() -> None:
    network = ToyNetwork()
    set_trainable(network, "backbone")
    grouped = [p for g in parameter_groups(network, toy_config(), frozenset()) for p in g["params"]]
    assert {id(p) for p in grouped} == {
        id(p) for n, p in network.named_parameters() if not n.startswith("backbone")
    }


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda p: p.name)
def test_a_frozen_detector_leaves_the_mask_branch_alone_trainable(preset: object) -> None:
    network = build_network(preset, 3)  # type: ignore[arg-type]
    set_trainable(network, "detector")
    trained = {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert trained == {"prototypes", "head"}
    for name, parameter in network.named_parameters():
        parts = name.split(".")
        is_mask = parts[0] == "prototypes" or "mask_tower" in parts or "coefficients" in parts
        assert parameter.requires_grad == is_mask, name
    set_trainable(network, "none")
    assert all(p.requires_grad for p in network.parameters())


def test_norms_stand_still_where_frozen_or_loaded() -> None:
    network = ToyNetwork()
    norm = network.backbone[1]
    started = frozenset({"backbone.1.running_mean"})
    for config, start, training in [
        (toy_config(), started, True),
        (toy_config(frozen_batch_norm=True), started, False),
        (toy_config(frozen_batch_norm=True), frozenset(), True),
        (toy_config(freeze="backbone"), frozenset(), False),
        (toy_config(freeze="detector"), frozenset(), False),
    ]:
        set_mode(network, config, start)
        assert norm.training == training
        assert network.training


def test_the_mask_branch_learns_at_the_full_rate_though_it_was_loaded() -> None:
    network = build_network(PRESETS["n-320"], 2)
    started = frozenset(network.state_dict())
    groups = parameter_groups(network, toy_config(rate_new=1e-3, rate_started=1e-4), started)
    peak = {id(p): g["peak"] for g in groups for p in g["params"]}
    assert peak[id(network.prototypes.out.weight)] == 1e-3
    assert peak[id(network.head.levels[0].coefficients.weight)] == 1e-3
    assert peak[id(network.head.levels[0].scores.weight)] == 1e-4
