"""The registry of export formats: a writer joins it with ``@exporter``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError, nearest
from mobileyolact.export.graph import Graph

Write = Callable[[Graph, ModelContract, Path], None]


@dataclass(frozen=True)
class Exporter:
    """One format: ``suffixes`` of its files, first the one that a backend opens."""

    name: str
    suffixes: tuple[str, ...]
    write: Write

    def files(self, folder: Path, stem: str) -> tuple[Path, ...]:
        """The files of a model called ``stem`` in ``folder``, first the one to open."""
        return tuple(folder / f"{stem}{suffix}" for suffix in self.suffixes)


EXPORTERS: dict[str, Exporter] = {}


def exporter(name: str, *suffixes: str) -> Callable[[Write], Write]:
    """Register a function that writes a graph and its contract to the path it is given."""

    def register(write: Write) -> Write:
        EXPORTERS[name] = Exporter(name, suffixes, write)
        return write

    return register


def get_exporter(name: str) -> Exporter:
    """The exporter called ``name``.

    Raises:
        OptionError: no such format; the message names the nearest.
    """
    if name in EXPORTERS:
        return EXPORTERS[name]
    raise OptionError(
        f"there is no export format '{name}'{nearest(name, EXPORTERS)} of {', '.join(EXPORTERS)}"
    )
