"""The rows of experiments.toml: what is trained, from what, and what it is measured on."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileyolact.errors import OptionError, nearest

RUNS = "runs/experiments"
VERDICTS = ("paid", "did not pay")


@dataclass(frozen=True, eq=False)
class Row:
    """One line of docs/results.md: the same training with one or several seeds."""

    name: str
    group: str
    what: str
    train: dict[str, Any]
    evaluate: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    note: str = ""
    verdict: str = ""

    @property
    def runs(self) -> "tuple[Run, ...]":
        return tuple(Run(f"{self.name}-s{seed}", self, seed) for seed in self.seeds)


@dataclass(frozen=True)
class Run:
    name: str
    row: Row
    seed: int

    def arguments(self, data: Path | str = "DIR", runs: Path | str = RUNS) -> list[str]:
        """What follows `mobileyolact` on the command line."""
        words = ["train"]
        for option, value in {**self.row.train, "seed": self.seed}.items():
            for item in value if isinstance(value, list) else [value]:
                words += [f"--{option}", _placed(str(item), data, runs)]
        return [*words, "--output", f"{runs}/{self.name}"]

    @property
    def command(self) -> str:
        """For a person: DIR stands for the data folder."""
        return " ".join(["mobileyolact", *self.arguments()])


@dataclass(frozen=True)
class Plan:
    """All of experiments.toml; ``groups`` have title and about, ``files`` a description."""

    rows: tuple[Row, ...]
    groups: dict[str, dict[str, str]]
    files: dict[str, str]

    @property
    def runs(self) -> dict[str, Run]:
        return {run.name: run for row in self.rows for run in row.runs}

    def find(self, name: str) -> tuple[Run, ...]:
        """The runs of a row, or one run, by name."""
        rows, runs = {row.name: row for row in self.rows}, self.runs
        if name in rows:
            return rows[name].runs
        if name in runs:
            return (runs[name],)
        raise OptionError(f"there is no row or run '{name}'{nearest(name, [*rows, *runs])}")


def read_plan(path: Path) -> Plan:
    """Read a file such as experiments.toml.

    Raises:
        OptionError: it is no TOML, lacks something, or a name occurs twice.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = [*_expanded(content.get("matrix", [])), *content.get("row", [])]
        rows = tuple(_row(table) for table in tables)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise OptionError(f"{path} does not hold what its head says: {error}") from None
    plan = Plan(rows, content.get("groups", {}), content.get("files", {}))
    names = [name for row in rows for name in (row.name, *(run.name for run in row.runs))]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"{path} has two rows or runs of one name, {name}; rename one")
    for row in rows:
        if row.group not in plan.groups:
            raise OptionError(f"{path}: row {row.name} is in no group of [groups]")
        if row.verdict not in ("", *VERDICTS):
            raise OptionError(f"{path}: the verdict of {row.name} is not one of {VERDICTS}")
        for file in {*row.train["data"], *row.evaluate} - set(plan.files):
            raise OptionError(f"{path}: {file} of row {row.name} is not described in [files]")
    return plan


def _row(table: dict[str, Any]) -> Row:
    if not table["train"]["data"] or not table["evaluate"]:
        raise KeyError(f"{table['name']} needs data and evaluate")
    if "seed" in table["train"]:
        raise KeyError(f"the seed of {table['name']} belongs into seeds")
    return Row(**{k: tuple(v) if k in ("evaluate", "seeds") else v for k, v in table.items()})


def _expanded(matrices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for matrix in matrices:
        group, common = matrix["group"], matrix.get("train", {})
        for variant, options in matrix["variants"].items():
            row = {
                "name": f"{group}-{variant}",
                "group": group,
                "what": options["what"],
                "train": {**common, **{k: v for k, v in options.items() if k != "what"}},
                "evaluate": matrix.get("evaluate", []),
                "seeds": matrix.get("seeds", [0]),
            }
            if "sets" not in matrix:
                yield row
            for name, seeds in matrix.get("sets", {}).items():
                yield {
                    **row,
                    "name": f"{group}-{name}-{variant}",
                    "train": {"data": [f"{name}/train.json"], **row["train"]},
                    "evaluate": [f"{name}/val.json"],
                    "seeds": seeds,
                }


def _placed(value: str, data: Path | str, runs: Path | str) -> str:
    if value.startswith("@"):
        return f"{runs}/{value[1:]}/best.safetensors"
    return f"{data}/{value}" if value.endswith((".json", ".safetensors")) else value
