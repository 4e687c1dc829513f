"""Presets: one frozen record a network, named ``<family>-<input>``, and their variants.

A variant changes one thing for an experiment: ``paper-320+dense`` is ``paper-320`` with dense
convolutions. Several may follow each other.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from mobileyolact.contract import POSITION_TERMS, ColourOrder
from mobileyolact.errors import OptionError, nearest


@dataclass(frozen=True)
class Preset:
    """What a network is, apart from its classes and weights.

    ``input_size`` is (height, width) in pixels; ``mean`` and ``std`` are on the 0..255 scale
    in ``colour_order``. ``starts`` are the values of ``--init`` that have weights for it.
    With ``anchor_ratios`` it is a network with anchors, of ``anchor_scales`` in input pixels, one
    a level. For these alone, ``separable`` says that 3x3 convolutions are depthwise separable,
    and ``prototype_branch`` whether the prototypes have one of them before the upsampling, of
    ``prototype_channels``, or YOLACT's three, of ``neck_channels``. Of ``position_coefficients``
    see ``runtime.position``. ``activation`` is that of a ShuffleNetV2, and of neck, head and
    prototypes without anchors.
    """

    name: str
    input_size: tuple[int, int]
    backbone: str
    colour_order: ColourOrder
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    starts: tuple[str, ...]
    neck_channels: int = 96
    strides: tuple[int, ...] = (8, 16, 32, 64)
    reg_max: int = 7
    prototypes: int = 32
    prototype_channels: int = 64
    anchor_scales: tuple[float, ...] = ()
    anchor_ratios: tuple[float, ...] = ()
    separable: bool = True
    prototype_branch: Literal["simplified", "full"] = "simplified"
    position_coefficients: int = POSITION_TERMS
    activation: Literal["leaky_relu", "relu"] = "leaky_relu"

    @property
    def box_values(self) -> int:
        """Values of one box: its offsets, or distributions over ``reg_max + 1`` bins a side."""
        return 4 if self.anchor_ratios else 4 * (self.reg_max + 1)

    def score_rows(self, classes: int, index: int | None) -> tuple[int, ...]:
        """Output channels of the layer ``head.scores`` that score one class.

        Args:
            classes: how many classes the network has.
            index: of the class, or None for the background of a network with anchors.
        """
        if not self.anchor_ratios:
            return () if index is None else (index,)
        row = 0 if index is None else index + 1
        return tuple(anchor * (classes + 1) + row for anchor in range(len(self.anchor_ratios)))


def _nanodet(name: str, size: int) -> Preset:
    return Preset(
        name,
        (size, size),
        "shufflenetv2-1.0",
        "bgr",
        (103.53, 116.28, 123.675),
        (57.375, 57.12, 58.395),
        ("coco",),
    )


def _mobilenet(name: str, size: int) -> Preset:
    middle = (127.5, 127.5, 127.5)
    return Preset(
        name, (size, size), "mobilenetv2-1.0", "rgb", middle, middle, ("imagenet", "coco")
    )


def _yolact(name: str, size: int) -> Preset:
    return replace(
        _mobilenet(name, size),
        starts=("imagenet",),
        strides=(8, 16, 32, 64, 128),
        anchor_scales=tuple(side * size / 550 for side in (24, 48, 96, 192, 384)),
        anchor_ratios=(1, 0.5, 2),
        position_coefficients=0,
    )


_DENSE: dict[str, Any] = {"separable": False}
_FULL: dict[str, Any] = {"prototype_branch": "full"}

PRESETS = {
    p.name: p
    for p in (
        _nanodet("n-416", 416),
        _nanodet("n-320", 320),
        _mobilenet("s-416", 416),
        _mobilenet("s-320", 320),
        _yolact("paper-550", 550),
        _yolact("paper-320", 320),
        replace(_yolact("dense-320", 320), **_DENSE, **_FULL),
    )
}


@dataclass(frozen=True)
class Variant:
    """A named change of some presets: those ``of`` these families."""

    families: tuple[str, ...]
    meaning: str
    changes: dict[str, Any]


VARIANTS = {
    "relu": Variant(("n",), "ReLU instead of LeakyReLU: faster in int8", {"activation": "relu"}),
    "dense": Variant(("paper",), "dense 3x3 convolutions in neck, head and prototypes", _DENSE),
    "full-prototypes": Variant(("paper",), "the prototype branch as YOLACT has it", _FULL),
    "symmetric": Variant(
        ("s", "paper", "dense"),
        "backbone padded by 1 on all sides, not as TensorFlow does",
        {"backbone": "mobilenetv2-1.0-symmetric"},
    ),
}


def get_preset(name: str) -> Preset:
    """The preset called ``name``, which may be followed by variants: ``paper-320+dense``.

    Raises:
        OptionError: no such preset or variant; the message names the nearest.
    """
    base, *variants = name.split("+")
    if base not in PRESETS:
        raise OptionError(
            f"there is no preset '{base}'{nearest(base, PRESETS)} of {', '.join(PRESETS)}"
        )
    family = base.rpartition("-")[0]
    known = [variant for variant, what in VARIANTS.items() if family in what.families]
    for variant in variants:
        if variant not in known:
            raise OptionError(
                f"preset {base} has no variant '{variant}'{nearest(variant, known)} of "
                f"{', '.join(known)}"
            )
    # One network, one name, in whatever order the variants were given.
    chosen = [variant for variant in known if variant in variants]
    preset = replace(PRESETS[base], name="+".join([base, *chosen]))
    for variant in chosen:
        preset = replace(preset, **VARIANTS[variant].changes)
    return preset
