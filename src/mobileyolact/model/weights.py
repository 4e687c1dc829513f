"""Checkpoints: one safetensors file with weights, batch norm statistics and the contract."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mobileyolact.contract import CONTRACT_KEY, ModelContract
from mobileyolact.errors import ContractError, ModelError, OptionError
from mobileyolact.files import write_beside
from mobileyolact.model.network import MobileYolact, empty_network
from mobileyolact.model.presets import get_preset

STATE_KEY = "mobileyolact.training"  # in the metadata of a stopped training, see ``train``


def save_checkpoint(
    path: Path, network: MobileYolact, contract: ModelContract, half: bool = False
) -> None:
    """Write ``network`` and ``contract`` to ``path``, whole or not at all.

    Args:
        half: store convolution weights as float16; batch norm and biases stay float32.
    """
    tensors = {}
    for name, value in network.state_dict().items():
        value = value.detach().cpu().contiguous()
        tensors[name] = value.half() if half and value.dim() == 4 else value.clone()
    with write_beside(path) as temporary:
        # Not save_file, which makes a temporary file of its own, readable by its owner only.
        temporary.write_bytes(save(tensors, {CONTRACT_KEY: contract.to_json()}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (floating point ones as float32) and metadata of a safetensors file.

    Raises:
        ModelError: the file is missing or is not a whole safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise ModelError(f"there is no checkpoint {path}; check the path") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path} is not a whole safetensors file ({error}); copy or train it again"
        ) from None
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, metadata


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], ModelContract]:
    """Tensors and contract of a checkpoint, which need not be complete.

    Raises:
        ModelError: not a checkpoint of this package.
    """
    tensors, metadata = read_tensors(path)
    if STATE_KEY in metadata:
        raise ContractError(
            f"{path} is what a training goes on from, not a model; "
            "take best.safetensors beside it, which is there once the training is done"
        )
    if CONTRACT_KEY not in metadata:
        raise ContractError(
            f"{path} has no contract, so it is no mobileyolact checkpoint; "
            "give a file that 'mobileyolact train' wrote"
        )
    return tensors, ModelContract.from_json(metadata[CONTRACT_KEY], str(path))


def load_checkpoint(path: Path) -> tuple[MobileYolact, ModelContract]:
    """The network, in eval mode, and the contract of a checkpoint.

    Raises:
        ModelError: not a checkpoint of this package, or weights are missing or of other shape.
    """
    tensors, contract = read_checkpoint(path)
    try:
        preset = get_preset(contract.name)
    except OptionError as error:
        raise ModelError(f"{path} cannot be loaded: {error}") from None
    # Checkpoints of before the position had coefficients have none.
    preset = replace(preset, position_coefficients=contract.position_coefficients)
    network = empty_network(preset, len(contract.classes))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(
            f"the weights in {path} do not fit preset {contract.name} ({detail}); "
            "train it again with this version"
        ) from None
    return network.eval(), contract


def load_matching(network: MobileYolact, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy every tensor whose name and shape fit; return the names of those left as they were."""
    state = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in state and state[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return [name for name in state if name not in fitting]
