"""Does an engine compute the codes that its emulation computes from the same input codes?"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobileyolact.errors import ParityError


@dataclass(frozen=True)
class LayerAgreement:
    """One layer on one picture: how many codes it wrote, how many differ, by how much at most."""

    layer: str
    codes: int
    differing: int
    largest: int


@dataclass(frozen=True)
class Allowed:
    """``share`` of the codes of a layer that may differ, each by ``largest`` at most."""

    share: float = 0.0
    largest: int = 0


def compare_codes(
    layer: str, engine: NDArray[np.int8], emulated: NDArray[np.int8]
) -> LayerAgreement:
    """Compare what the engine wrote with what the emulation wrote, arrays of one shape."""
    difference = np.abs(engine.astype(np.int16) - emulated)
    return LayerAgreement(
        layer, difference.size, int(np.count_nonzero(difference)), int(difference.max(initial=0))
    )


def compare_floats(
    layer: str, engine: NDArray[np.float32], emulated: NDArray[np.float32]
) -> LayerAgreement:
    """The same for floats, counted in ten-thousandths of the largest emulated value.

    What is not finite is as far off as that value.
    """
    unit = float(np.abs(emulated).max(initial=0)) / 10_000 or 1.0
    distance = np.abs(engine - emulated) / unit
    units = np.floor(np.where(np.isfinite(distance), distance, 10_000))
    return LayerAgreement(
        layer, units.size, int(np.count_nonzero(units)), int(units.max(initial=0))
    )


def check_agreement(
    found: Iterable[tuple[LayerAgreement, Allowed]], engine: str, artefact: str
) -> None:
    """Raise ParityError that names the first layer of ``artefact`` beyond what is allowed."""
    for layer, allowed in found:
        if layer.largest > allowed.largest or layer.differing > allowed.share * layer.codes:
            raise ParityError(
                f"in {engine}, layer '{layer.layer}' of {artefact} gives {layer.differing} of "
                f"{layer.codes} codes otherwise than its emulation, by up to {layer.largest}; "
                "no file is written: update the engine, or report it and leave this layer in float"
            )
