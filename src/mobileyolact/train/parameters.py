"""Which parameters of a network are trained, at which rate, and which norms stand still."""

from typing import Any

from torch import nn

from mobileyolact.train.config import Freeze, TrainConfig

_MASK_BRANCH = ("prototypes", "coefficients", "mask_tower")


def set_trainable(network: nn.Module, freeze: Freeze) -> None:
    """Switch gradients off for the frozen part: nothing, the backbone, or all but the masks."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not _is_frozen(name, freeze))


def set_mode(network: nn.Module, config: TrainConfig, started: frozenset[str]) -> None:
    """Training mode, except for norms whose running statistics have to stay as they are.

    ``started`` holds the names of state tensors that were loaded from a checkpoint.
    """
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            frozen = _is_frozen(name, config.freeze)
            if frozen or (config.frozen_batch_norm and f"{name}.running_mean" in started):
                module.eval()


def parameter_groups(
    network: nn.Module, config: TrainConfig, started: frozenset[str]
) -> list[dict[str, Any]]:
    """AdamW's groups of the trainable parameters, each with its own ``peak`` rate.

    Loaded parameters learn at ``rate_started``, others at ``rate_new``. So does the mask branch,
    loaded or not: the embedded masks were learnt from few pictures and have the most to learn.
    Biases and norms (every tensor of one dimension) have no weight decay.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        key = (name in started and not in_mask_branch(name), parameter.ndim > 1)
        rate = config.rate_started if key[0] else config.rate_new
        decay = config.weight_decay if key[1] else 0.0
        new_group = {"params": [], "lr": rate, "peak": rate, "weight_decay": decay}
        groups.setdefault(key, new_group)["params"].append(parameter)
    return list(groups.values())


def _is_frozen(name: str, freeze: Freeze) -> bool:
    if freeze == "detector":
        return not in_mask_branch(name)
    return freeze == "backbone" and name.startswith("backbone.")


def in_mask_branch(name: str) -> bool:
    """Whether the state tensor ``name`` belongs to the prototypes or to the coefficients."""
    return any(part in _MASK_BRANCH for part in name.split("."))
