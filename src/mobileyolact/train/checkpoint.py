"""The state of a training run in one safetensors file: written whole, never a pickle.

All randomness derives from (seed, iteration), so there is no generator state to keep.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from mobileyolact.errors import OptionError, TrainingError
from mobileyolact.files import write_beside
from mobileyolact.model.weights import STATE_KEY
from mobileyolact.train.config import RESULT_NEUTRAL, TrainConfig


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands: ``iteration`` are done, ``best_score`` is the best validation.

    ``run`` names what besides ``config`` makes the run what it is (preset, start, data).
    """

    iteration: int
    best_score: float | None
    config: TrainConfig
    run: Mapping[str, Any]


def save_state(
    path: Path, state: TrainingState, network: nn.Module, ema: nn.Module, optimizer: Optimizer
) -> None:
    """Write everything that the next iteration depends on, whole or not at all."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    for name, parameter in network.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{slot}"] = value
    header = {
        "iteration": state.iteration,
        "best_score": state.best_score,
        "config": json.loads(state.config.to_json()),
        "run": dict(state.run),
    }
    with write_beside(path) as temporary:
        # Not save_file, which makes a temporary file of its own, readable by its owner only.
        temporary.write_bytes(
            save(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                {STATE_KEY: json.dumps(header)},
            )
        )


def read_state(path: Path) -> TrainingState:
    """The header of a state file, without its tensors.

    Raises:
        TrainingError: the file is damaged, or not one of ours.
    """
    with _open(path) as file:
        text = (file.metadata() or {}).get(STATE_KEY)
    if text is None:
        raise TrainingError(f"{path} holds no training state; choose another folder with -o")
    header = json.loads(text)
    config = TrainConfig.from_json(json.dumps(header["config"]), f"the options in {path}")
    return TrainingState(header["iteration"], header["best_score"], config, header["run"])


def restore_state(path: Path, network: nn.Module, ema: nn.Module, optimizer: Optimizer) -> None:
    """Load a state file into a network, its average and the optimizer, bit for bit.

    Raises:
        TrainingError: the file is damaged, or belongs to a network of other shape.
    """
    with _open(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        network.load_state_dict(_below(tensors, "network."))
        ema.load_state_dict(_below(tensors, "ema."))
    except RuntimeError:
        raise TrainingError(
            f"{path} belongs to a network of another shape; choose another folder with -o"
        ) from None
    saved = _below(tensors, "optimizer.")
    for name, parameter in network.named_parameters():
        slots = {
            k.removeprefix(f"{name}."): v for k, v in saved.items() if k.startswith(f"{name}.")
        }
        for slot, value in slots.items():
            # The strides of the parameter: kernels round alike only on equal memory layouts.
            alike = value.shape == parameter.shape
            slots[slot] = torch.empty_like(parameter).copy_(value).detach() if alike else value
        if slots:
            optimizer.state[parameter] = slots


def check_same_run(
    state: TrainingState, config: TrainConfig, run: Mapping[str, Any], directory: Path
) -> None:
    """Check that ``config`` and ``run`` continue the run in ``directory``.

    Raises:
        OptionError: an option that changes the result differs; the message names it.
    """
    old = {**state.run, **json.loads(state.config.to_json())}
    new = {**run, **json.loads(config.to_json())}
    for name in old | new:
        if name not in RESULT_NEUTRAL and old.get(name) != new.get(name):
            raise OptionError(
                f"{directory} holds a run with {name.replace('_', '-')} {old.get(name)}, but this "
                f"command says {new.get(name)}; give the same value to go on with that run, or "
                "another folder with -o"
            )


def remove_leftovers(path: Path) -> None:
    """Remove half-written files that a killed process has left beside ``path``."""
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink()


def _open(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise TrainingError(
            f"{path} cannot be read as a training state ({error}); delete it to start afresh"
        ) from None


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
