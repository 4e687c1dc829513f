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
_READS_BACKBONE = ("neck.reduce.", "neck.lateral.", "prototypes.detail.")
_KEPT_DEFAULTS = ("score_threshold", "nms", "nms_threshold", "mask_threshold", "max_detections")


@dataclass(frozen=True)
class Start:
    """A network and what of it was loaded.

    ``started`` are the names of whole loaded state tensors, ``partial`` of those of which only
    the rows of ``matched`` classes were, ``random`` of all others. ``new`` are the classes that
    the start does not know. With ``imagenet`` the backbone is from there.
    """

    network: MobileYolact
    contract: ModelContract
    started: frozenset[str]
    partial: tuple[str, ...]
    random: tuple[str, ...]
    matched: tuple[str, ...]
    new: tuple[str, ...]
    imagenet: bool


def default_start(preset: Preset) -> str:
    """The start that a run of ``preset`` has without being told: the embedded model, if it can."""
    return "coco" if "coco" in preset.starts else preset.starts[0]


def make_start(preset: Preset, init: str, classes: Sequence[ClassInfo], seed: int = 0) -> Start:
    """Build the network of ``preset`` for ``classes`` and load what ``init`` offers.

    Args:
        preset: the network to build.
        init: ``none``, ``imagenet`` (the backbone), ``coco`` (the embedded checkpoint), or a
            checkpoint's path. Where the backbone of a checkpoint is another, MobileNetV2 comes
            from ImageNet.
        classes: the classes to train; those of a checkpoint are matched by name.
        seed: draws the weights that nothing is loaded into.

    Raises:
        OptionError: the preset has no such start, or ``init`` names neither a start nor a file.
        ModelError: the checkpoint cannot be read.
    """
    if init in ("coco", "imagenet") and init not in preset.starts:
        raise OptionError(
            f"preset {preset.name} has no start '{init}'; choose "
            f"{', '.join((*preset.starts, 'none'))}, or a checkpoint"
        )
    network = build_network(preset, len(classes), seed)
    if init in ("none", "imagenet"):
        loaded = _load_imagenet(network) if init == "imagenet" else set()
        everything = tuple(name for name in network.state_dict() if name not in loaded)
        names = tuple(c.name for c in classes)
        contract = build_contract(preset, classes)
        return Start(
            network, contract, frozenset(loaded), (), everything, (), names, init == "imagenet"
        )

    tensors, old = read_checkpoint(_checkpoint(init))
    old_preset = get_preset(old.name)
    tensors = _with_position(_of_use(tensors, old_preset, network), network)
    scores = {k: v for k, v in tensors.items() if _holds_classes(k)}
    rest = {k: v for k, v in tensors.items() if k not in scores}
    loaded = set(network.state_dict()) - set(load_matching(network, rest))
    if not loaded:
        raise OptionError(
            f"preset {preset.name} can take nothing from {init}, which is of preset {old.name}; "
            "choose another start"
        )
    imagenet = old_preset.backbone != preset.backbone and "imagenet" in preset.starts
    if imagenet:
        loaded |= _load_imagenet(network)
    found = [(c.index, match_name(c.name, old.classes)) for c in classes]
    pairs = [(new, row) for new, row in found if row is not None] if scores else []
    partial = _load_rows(network, scores, pairs, len(old.classes)) if pairs else ()
    if len(pairs) == len(classes):
        loaded |= set(partial)
        partial = ()
    alike = bool(old_preset.anchor_ratios) == bool(preset.anchor_ratios)
    kept = {name: getattr(old, name) for name in _KEPT_DEFAULTS if alike}
    known = {index for index, _ in pairs}
    return Start(
        network,
        build_contract(preset, classes, **kept),
        frozenset(loaded),
        partial,
        tuple(k for k in network.state_dict() if k not in loaded and k not in partial),
        tuple(c.name for c in classes if c.index in known),
        tuple(c.name for c in classes if c.index not in known),
        imagenet,
    )


def _checkpoint(init: str) -> Path:
    if init != "coco" and not init.endswith(".safetensors"):
        raise OptionError(
            f"there is no start '{init}'; give coco, imagenet, none or a .safetensors checkpoint"
        )
    return zoo.resolve(init, "safetensors")


def _load_imagenet(network: MobileYolact) -> set[str]:
    assert isinstance(network.backbone, MobileNetV2)
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


def _of_use(tensors: dict[str, Tensor], old: Preset, network: MobileYolact) -> dict[str, Tensor]:
    """Those ``tensors`` of a network of ``old`` that mean the same in ``network``.

    What reads another backbone's features is of no use, even if its shape fits. Outputs with
    anchors and without come from different necks and heads. The statistics of a norm belong to
    its convolution and are left out with it, while its scale and shift are what the layers behind
    it are used to.
    """
    state, preset = network.state_dict(), network.preset
    other = old.backbone != preset.backbone
    if bool(old.anchor_ratios) != bool(preset.anchor_ratios):
        tensors = {k: v for k, v in tensors.items() if k.startswith("backbone.")}

    def is_of_use(name: str) -> bool:
        if other and name.startswith("backbone."):
            return False
        layer, norm, part = name.partition(".norm")
        conv = f"{layer.removesuffix('.conv.weight')}.conv.weight"
        if conv not in state:
            return True
        fits = conv in tensors and tensors[conv].shape == state[conv].shape
        if fits and not (other and conv.startswith(_READS_BACKBONE)):
            return True
        return bool(norm) and part.endswith((".weight", ".bias"))

    return {name: tensor for name, tensor in tensors.items() if is_of_use(name)}


def _with_position(tensors: dict[str, Tensor], network: MobileYolact) -> dict[str, Tensor]:
    """``tensors`` of a network that may have no position coefficients, with those of ``network``.

    Older checkpoints have none; what a new network starts with stands in for them.
    """
    state, count = network.state_dict(), network.preset.position_coefficients
    older = [
        name
        for name, tensor in tensors.items()
        if count
        and "coefficients" in name.split(".")
        and name in state
        and state[name].shape == (len(tensor) + count, *tensor.shape[1:])
    ]
    return tensors | {name: torch.cat([tensors[name], state[name][-count:]]) for name in older}


def _load_rows(
    network: MobileYolact,
    tensors: dict[str, Tensor],
    pairs: list[tuple[int, int]],
    old_classes: int,
) -> tuple[str, ...]:
    """Copy the rows of each (class here, class there), and of the background; names of tensors."""
    state, preset, classes = network.state_dict(), network.preset, network.classes
    names = tuple(k for k, v in tensors.items() if k in state and state[k].shape[1:] == v.shape[1:])
    scored = [(preset.score_rows(classes, a), preset.score_rows(old_classes, b)) for a, b in pairs]
    scored.append((preset.score_rows(classes, None), preset.score_rows(old_classes, None)))
    for name in names:
        rows = [((a,), (b,)) for a, b in pairs] if name.startswith("semantic.") else scored
        new, old = ([row for side in sides for row in side] for sides in zip(*rows, strict=True))
        state[name][new] = tensors[name][old]
    return names


def _holds_classes(name: str) -> bool:
    parts = name.split(".")
    return "scores" in parts or parts[0] == "semantic"
