"""Published times of public networks in ncnn on phones and boards, and what is estimated of which.

``phones.csv`` has a row a figure: chip, threads, network, milliseconds, and where it stands.
All are of ncnn's CPU engine with 16-bit floats, one picture at a time, on the big cores.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("phones.csv")


@dataclass(frozen=True)
class Table:
    """A chip with a number of threads, by which figures belong together."""

    soc: str
    threads: int


@dataclass(frozen=True)
class Device:
    """Something to estimate times on: from the table of its own, or between those of two others.

    The threads of a table are 1 or 4, never more than there are big cores: more are slower.
    """

    name: str
    threads: int
    tables: tuple[Table, ...]

    @property
    def interpolated(self) -> bool:
        return len(self.tables) > 1


def _both(name: str, soc: str) -> tuple[Device, Device]:
    one, four = (Device(name, threads, (Table(soc, threads),)) for threads in (1, 4))
    return one, four


_855, _8_GEN_2 = "Snapdragon 855+", "Snapdragon 8 Gen 2"

DEVICES = (
    # Nobody published times of its chip on one thread; its cores, a year younger than the one
    # neighbour's and three years older than the other's, run between the two.
    Device("Galaxy S20 (Snapdragon 865)", 1, (Table(_855, 1), Table(_8_GEN_2, 1))),
    Device("Galaxy S20 (Snapdragon 865)", 4, (Table("Snapdragon 865", 4),)),
    *_both("Snapdragon 8 Gen 2", _8_GEN_2),
    *_both("Snapdragon 855+", _855),
    *_both("Dimensity 9300", "Dimensity 9300"),
    Device("Kirin 980", 4, (Table("Kirin 980", 4),)),
    *_both("Raspberry Pi 5 (BCM2712)", "BCM2712"),
    *_both("RK3588", "RK3588"),
)


@cache
def published() -> dict[Table, dict[str, float]]:
    """Milliseconds by network, for each table."""
    tables: dict[Table, dict[str, float]] = {}
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            table = Table(row["soc"], int(row["threads"]))
            tables.setdefault(table, {})[row["network"]] = float(row["ms"])
    return tables


@cache
def sources() -> dict[str, tuple[str, ...]]:
    """Where figures stand, each with the chips that it tells of."""
    found: dict[str, dict[str, None]] = {}
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["source"], {})[row["soc"]] = None
    return {source: tuple(socs) for source, socs in found.items()}
