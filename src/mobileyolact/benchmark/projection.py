"""Estimates of a network's time on phones, from times here and published times there.

Of every network two things are measured here: its time, and how many values its layers read and
write, for which phones take relatively longer. A published time is then

    ms = speed of the table * (ms here + weight * values) * what is special about the network

where the speed belongs to one chip with a number of threads, the weight to all tables of as many
threads, and what is special about a network to all tables too, drawn towards 1. The last lets a
table of few networks be read through those of many. Logarithms make it a linear least-squares
problem for each weight; the best of a grid of weights is kept. For a network without published
times nothing special is known.

How far off that is, is measured by leaving out each family of networks in turn, everywhere.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mobileyolact.benchmark.phones import DEVICES, Device, Table

FULL = 5
"""Families of networks from which on a table can do without one of them."""

_COVERED = (0.05, 0.95)
_WEIGHTS = (0.0, *np.geomspace(0.02, 2, 25))  # milliseconds here a million values
# What is special about networks varies about as much as what remains, so each network counts as
# if one more table had said that nothing is.
_SHRINK = 1.0


@dataclass(frozen=True)
class Host:
    """What was measured here: ``ms`` of a network on one thread, ``values`` in millions."""

    ms: float
    values: float


@dataclass(frozen=True)
class Errors:
    """Of estimates for families that were left out, over ``count`` figures.

    ``median`` and ``p90`` are of the distance as a share of the published time; ``low`` and
    ``high`` are the factors from an estimate to the times that nine in ten lie between.
    """

    count: int
    median: float
    p90: float
    low: float
    high: float

    @classmethod
    def of(cls, logs: Sequence[float]) -> "Errors":
        """Of logarithms of published over estimated times."""
        values = np.asarray(logs)
        distance = np.abs(np.exp(-values) - 1)
        low, high = np.exp(np.quantile(values, _COVERED))
        middle, most = np.median(distance), np.quantile(distance, 0.9)
        return cls(len(values), *(round(float(v), 4) for v in (middle, most, low, high)))


@dataclass(frozen=True)
class Estimate:
    """Of one network on one device.

    Nine in ten times are expected from ``low_ms`` to ``high_ms``.
    """

    device: str
    threads: int
    interpolated: bool
    ms: float
    low_ms: float
    high_ms: float

    def to_json(self) -> dict[str, Any]:
        rates = {"fps": self.ms, "low_fps": self.high_ms, "high_fps": self.low_ms}
        return {**asdict(self), **{name: round(1000 / ms, 2) for name, ms in rates.items()}}


@dataclass(frozen=True)
class Projection:
    """Estimates by model, what they were made from, and how far off they may be.

    ``full`` is the error over tables of at least ``FULL`` families, ``short`` that over the others,
    whose estimates have the wider band; ``errors`` is that over all.
    """

    hosts: dict[str, Host]
    estimates: dict[str, tuple[Estimate, ...]]
    errors: Errors
    full: Errors
    short: Errors

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; ``host`` has the models and the reference networks."""
        return {
            "left_out": {"all": asdict(self.errors)}
            | {"full tables": asdict(self.full), "short tables": asdict(self.short)},
            "host": {name: asdict(host) for name, host in self.hosts.items()},
            "models": [
                {"name": name, "devices": [estimate.to_json() for estimate in estimates]}
                for name, estimates in self.estimates.items()
            ],
        }


class _Fit:
    """The tables of one number of threads, read with the networks that may be used."""

    def __init__(
        self,
        tables: Mapping[Table, Mapping[str, float]],
        hosts: Mapping[str, Host],
        names: Collection[str],
    ) -> None:
        rows = [(t, n, ms) for t, times in tables.items() for n, ms in times.items() if n in names]
        self._tables = list(dict.fromkeys(t for t, _, _ in rows))
        networks = list(dict.fromkeys(n for _, n, _ in rows))
        system = np.zeros((len(rows) + len(networks), len(self._tables) + len(networks)))
        for i, (table, name, _) in enumerate(rows):
            system[i, self._tables.index(table)] = 1
            system[i, len(self._tables) + networks.index(name)] = 1
        for i in range(len(networks)):
            system[len(rows) + i, len(self._tables) + i] = _SHRINK**0.5
        best = np.inf
        for weight in _WEIGHTS:
            wanted = [np.log(ms / _cost(hosts[name], weight)) for _, name, ms in rows]
            target = np.array(wanted + [0.0] * len(networks))
            solution = np.linalg.lstsq(system, target, rcond=None)[0]
            loss = float(((system @ solution - target) ** 2).sum())
            if loss < best:
                best, self._weight, self._solution = loss, weight, solution

    def knows(self, table: Table) -> bool:
        return table in self._tables

    def estimate(self, table: Table, host: Host) -> float:
        """Milliseconds."""
        speed = np.exp(self._solution[self._tables.index(table)])
        return float(speed * _cost(host, self._weight))


def _cost(host: Host, weight: float) -> float:
    return host.ms + weight * host.values


def project(
    models: Mapping[str, Host],
    references: Mapping[str, Host],
    families: Mapping[str, str],
    tables: Mapping[Table, Mapping[str, float]],
    devices: Sequence[Device] = DEVICES,
) -> Projection:
    """Estimate times of ``models``.

    Args:
        models: what was measured of them here.
        references: the same of networks with published times.
        families: which of these belong together.
        tables: the published times in milliseconds.
        devices: what to estimate times on.
    """
    logs = list(_left_out(references, families, tables))
    complete = {t for t, of in tables.items() if len({families[name] for name in of}) >= FULL}
    full = Errors.of([log for table, log in logs if table in complete])
    short = Errors.of([log for table, log in logs if table not in complete])
    fits = {t: _Fit(of, references, references) for t, of in _by_threads(tables).items()}

    def estimate(host: Host, device: Device) -> Estimate:
        middles, lows, highs = [], [], []
        for table in device.tables:
            ms = fits[table.threads].estimate(table, host)
            errors = full if table in complete else short
            middles.append(ms)
            lows.append(ms * errors.low)
            highs.append(ms * errors.high)
        figures = (float(np.exp(np.mean(np.log(middles)))), min(lows), max(highs))
        rounded = (round(figure, 3) for figure in figures)
        return Estimate(device.name, device.threads, device.interpolated, *rounded)

    return Projection(
        hosts={**models, **references},
        estimates={n: tuple(estimate(host, d) for d in devices) for n, host in models.items()},
        errors=Errors.of([log for _, log in logs]),
        full=full,
        short=short,
    )


def _left_out(
    references: Mapping[str, Host],
    families: Mapping[str, str],
    tables: Mapping[Table, Mapping[str, float]],
) -> Iterator[tuple[Table, float]]:
    """Logarithms of published over estimated times, of every figure without its family."""
    for of_threads in _by_threads(tables).values():
        for family in dict.fromkeys(families.values()):
            others = [name for name in references if families[name] != family]
            fit = _Fit(of_threads, references, others)
            for table, times in of_threads.items():
                for name, ms in times.items():
                    if families[name] == family and fit.knows(table):
                        yield table, float(np.log(ms / fit.estimate(table, references[name])))


def _by_threads(
    tables: Mapping[Table, Mapping[str, float]],
) -> dict[int, dict[Table, Mapping[str, float]]]:
    found: dict[int, dict[Table, Mapping[str, float]]] = {}
    for table, times in tables.items():
        found.setdefault(table.threads, {})[table] = times
    return found
