"""What times were taken on, because they hold for nothing else."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BUSY = 0.3
"""Load from which on times are not to be trusted: other programs take their share of the cores."""

_PACKAGES = ("mobileyolact", "numpy", "opencv-python-headless", "onnxruntime", "ncnn", "torch")
# Instructions that decide how fast networks run, int8 above all, as Linux spells them.
_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")


@dataclass(frozen=True)
class Device:
    """A machine and what is installed on it.

    ``cores`` are those that this process may use, ``load`` is the average number of busy ones in
    the last minute, ``None`` where the system does not tell. ``instructions`` are those of the
    processor that matter, as far as known. ``versions`` has the packages that are installed.
    """

    cpu: str
    cores: int
    instructions: tuple[str, ...]
    os: str
    python: str
    versions: dict[str, str]
    load: float | None

    @property
    def busy(self) -> bool:
        return self.load is not None and self.load > BUSY

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        load = "" if self.load is None else f", load {self.load:.2f}"
        special = f" ({', '.join(self.instructions)})" if self.instructions else ""
        installed = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.cpu}{special}, {cores}, {self.os}{load}; Python {self.python}, {installed}"


def describe_device() -> Device:
    """This machine, as it is now."""
    described = _processor_info()
    flags = described.get("flags", described.get("Features", "")).split()
    usable = getattr(os, "sched_getaffinity", None)
    return Device(
        cpu=described.get("model name") or platform.processor() or platform.machine(),
        cores=len(usable(0)) if usable else os.cpu_count() or 1,
        instructions=tuple(name for name in _INSTRUCTIONS if name in flags),
        os=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        versions=_versions(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def _processor_info() -> dict[str, str]:
    """What Linux tells of the first core; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _versions() -> dict[str, str]:
    """By metadata alone: nothing is imported."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
