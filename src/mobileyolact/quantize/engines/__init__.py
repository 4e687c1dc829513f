"""What each engine makes of integer layers, emulated, and compared with the engine itself."""

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileyolact.export.graph import Graph
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.quantize.agreement import Allowed, LayerAgreement

# (graph, record, the written file, image (1, 3, H, W)): every layer with what it is allowed.
Check = Callable[
    [Graph, QuantizedLayers, Path, NDArray[np.float32]], list[tuple[LayerAgreement, Allowed]]
]

CHECKS: dict[str, Check] = {}

_X86 = ("x86_64", "amd64", "x86", "i386", "i686")


def on_x86() -> bool:
    """Whether the engines compute here as on x86; else as on Arm."""
    return platform.machine().lower() in _X86


def register(name: str) -> Callable[[Check], Check]:
    """Register the check of the int8 files of the format ``name``."""

    def add(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return add
