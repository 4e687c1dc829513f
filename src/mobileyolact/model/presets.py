"""Presets: one frozen record a network, named ``<family>-<input>``."""

from dataclasses import dataclass

from mobileyolact.contract import ColourOrder
from mobileyolact.errors import OptionError, nearest


@dataclass(frozen=True)
class Preset:
    """What a network is, apart from its classes and weights.

    ``input_size`` is (height, width) in pixels; ``mean`` and ``std`` are on the 0..255 scale
    in ``colour_order``. ``starts`` are the values of ``--init`` that have weights for it.
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

    @property
    def box_values(self) -> int:
        """Values of one cell's box: a distribution over ``reg_max + 1`` bins for each side."""
        return 4 * (self.reg_max + 1)


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


PRESETS = {
    p.name: p
    for p in (
        _nanodet("n-416", 416),
        _nanodet("n-320", 320),
        _mobilenet("s-416", 416),
        _mobilenet("s-320", 320),
    )
}


def get_preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        OptionError: no such preset; the message names the nearest.
    """
    if name in PRESETS:
        return PRESETS[name]
    raise OptionError(
        f"there is no preset '{name}'{nearest(name, PRESETS)} of {', '.join(PRESETS)}"
    )
