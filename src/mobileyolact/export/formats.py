"""The registries of export formats: a writer joins one with its decorator."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError, nearest
from mobileyolact.export.graph import Graph
from mobileyolact.export.quantized import QuantizedLayers

Write = Callable[[Graph, ModelContract, Path], None]
WriteInt8 = Callable[[Graph, QuantizedLayers, ModelContract, Path], None]
W = TypeVar("W", Write, WriteInt8)


@dataclass(frozen=True)
class Exporter(Generic[W]):
    """One format: ``suffixes`` of its files, first the one that a backend opens."""

    name: str
    suffixes: tuple[str, ...]
    write: W

    def files(self, folder: Path, stem: str) -> tuple[Path, ...]:
        """The files of a model called ``stem`` in ``folder``, first the one to open."""
        return tuple(folder / f"{stem}{suffix}" for suffix in self.suffixes)


# Float arithmetic; integer arithmetic; and float arithmetic with weights stored in 8 bits.
EXPORTERS: dict[str, Exporter[Write]] = {}
INT8_EXPORTERS: dict[str, Exporter[WriteInt8]] = {}
SMALL_EXPORTERS: dict[str, Exporter[Write]] = {}


def exporter(name: str, *suffixes: str) -> Callable[[Write], Write]:
    """Register a function that writes a graph and its contract to the path it is given."""
    return _register(EXPORTERS, name, suffixes)


def int8_exporter(name: str, *suffixes: str) -> Callable[[WriteInt8], WriteInt8]:
    """Register a function that writes a graph with its ``QuantizedLayers``."""
    return _register(INT8_EXPORTERS, name, suffixes)


def small_exporter(name: str, *suffixes: str) -> Callable[[Write], Write]:
    """Register a function that writes a graph with its weights rounded to 8 bits."""
    return _register(SMALL_EXPORTERS, name, suffixes)


def _register(
    registry: dict[str, Exporter[W]], name: str, suffixes: tuple[str, ...]
) -> Callable[[W], W]:
    def register(write: W) -> W:
        registry[name] = Exporter(name, suffixes, write)
        return write

    return register


def get_exporter(name: str, registry: dict[str, Exporter[W]]) -> Exporter[W]:
    """The exporter called ``name``.

    Raises:
        OptionError: no such format; the message names the nearest.
    """
    if name in registry:
        return registry[name]
    raise OptionError(
        f"there is no export format '{name}'{nearest(name, registry)} of {', '.join(registry)}"
    )
