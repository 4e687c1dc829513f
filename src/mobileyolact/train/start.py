"""The network that a run starts from: random, MobileNetV2 from ImageNet, or a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mobileyolact import zoo
from mobileyolact.contract import ClassInfo, ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.labels.dataset import match_name
from mobileyolact.model.backbones.mobilenetv2 import MobileNetV2
from mobileyolact.model.imports import load_mobilenetv2
from mobileyolact.model.network import MobileYolact, build_contract, build_network
from mobileyolact.model.presets import Preset, get_preset
from mobileyolact.model.weights import load_matching, read_checkpoint, read_tensors

IMAGENET = zoo.ASSETS / "imagenet" / "mobilenetv2-1.0.safetensors"
_MOBILENET = "mobilenetv2-1.0"
_KEPT_DEFAULTS = ("score_threshold", "nms", "nms_threshold", "mask_threshold", "max_detections")


@dataclass(frozen=True)
class Start:
    """A network and what of it was loaded.

    ``started`` are the names of whole loaded state tensors, ``partial`` of those of which only
    the rows of ``matched`` classes were, ``random`` of all others. ``new`` are the classes that
    the start does not know.
    """

    network: MobileYolact
    contract: ModelContract
    started: frozenset[str]
    partial: tuple[str, ...]
    random: tuple[str, ...]
    matched: tuple[str, ...]
    new: tuple[str, ...]


def make_start(preset: Preset, init: str, classes: Sequence[ClassInfo], seed: int = 0) -> Start:
    """Build the network of ``preset`` for ``classes`` and load what ``init`` offers.

    Args:
        preset: the network to build.
        init: ``none``, ``imagenet`` (the backbone), ``coco`` (the embedded checkpoint; a
            MobileNetV2 preset takes its backbone from ImageNet), or a checkpoint's path.
        classes: the classes to train; those of a checkpoint are matched by name.
        seed: draws the weights that nothing is loaded into.

    Raises:
        OptionError: the preset has no such start, or ``init`` names neither a start nor a file.
        ModelError: the checkpoint cannot be read.
    """
    network = build_network(preset, len(classes), seed)
    loaded: set[str] = set()
    if init == "imagenet" or (init == "coco" and preset.backbone == _MOBILENET):
        loaded |= _load_imagenet(network, preset)
    if init in ("none", "imagenet"):
        everything = tuple(name for name in network.state_dict() if name not in loaded)
        names = tuple(c.name for c in classes)
        contract = build_contract(preset, classes)
        return Start(network, contract, frozenset(loaded), (), everything, (), names)

    tensors, old = read_checkpoint(_checkpoint(init))
    if get_preset(old.name).backbone != preset.backbone:
        tensors = {k: v for k, v in tensors.items() if not k.startswith("backbone.")}
    scores = {k: v for k, v in tensors.items() if _holds_classes(k)}
    rest = {k: v for k, v in tensors.items() if k not in scores}
    left = set(load_matching(network, rest))
    loaded |= set(network.state_dict()) - left
    found = [(c.index, match_name(c.name, old.classes)) for c in classes]
    rows = [(new, row) for new, row in found if row is not None]
    partial = _load_rows(network, scores, rows) if rows else ()
    if len(rows) == len(classes):
        loaded |= set(partial)
        partial = ()
    kept = {name: getattr(old, name) for name in _KEPT_DEFAULTS}
    known = {index for index, _ in rows}
    return Start(
        network,
        build_contract(preset, classes, **kept),
        frozenset(loaded),
        partial,
        tuple(k for k in network.state_dict() if k not in loaded and k not in partial),
        tuple(c.name for c in classes if c.index in known),
        tuple(c.name for c in classes if c.index not in known),
    )


def _checkpoint(init: str) -> Path:
    if init != "coco" and not init.endswith(".safetensors"):
        raise OptionError(
            f"there is no start '{init}'; give coco, imagenet, none or a .safetensors checkpoint"
        )
    return zoo.resolve(init, "safetensors")


def _load_imagenet(network: MobileYolact, preset: Preset) -> set[str]:
    if not isinstance(network.backbone, MobileNetV2):
        raise OptionError(
            f"preset {preset.name} has no start 'imagenet'; choose coco or none, "
            "or a MobileNetV2 preset such as s-416"
        )
    stored, _ = read_tensors(IMAGENET)
    # int8 with one scale per output channel: exact, since the published file was int8 too.
    weights = {
        name: value * stored[f"{name}.scale"].view(-1, 1, 1, 1)
        if f"{name}.scale" in stored
        else value
        for name, value in stored.items()
        if not name.endswith(".scale")
    }
    load_mobilenetv2(network.backbone, weights)
    return {name for name in network.state_dict() if name.startswith("backbone.")}


def _load_rows(
    network: MobileYolact, scores: dict[str, Tensor], rows: list[tuple[int, int]]
) -> tuple[str, ...]:
    state = network.state_dict()
    new, old = (torch.tensor(indices) for indices in zip(*rows, strict=True))
    names = tuple(k for k, v in scores.items() if k in state and state[k].shape[1:] == v.shape[1:])
    for name in names:
        state[name][new] = scores[name][old]
    return names


def _holds_classes(name: str) -> bool:
    return "scores" in name.split(".")
