"""The rows of experiments.toml: what is trained or quantized, and what it is measured on."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobileyolact.errors import OptionError, nearest

RUNS = "runs/experiments"
VERDICTS = ("paid", "did not pay")


@dataclass(frozen=True, eq=False)
class Row:
    """What docs/results.md shows together: one training with all its seeds, or a quantization.

    Of ``train`` and ``quantize``, the options of that command, one is empty.
    """

    name: str
    group: str
    what: str
    evaluate: tuple[str, ...]
    train: dict[str, Any] = field(default_factory=dict)
    quantize: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    note: str = ""
    verdict: str = ""

    @property
    def runs(self) -> "tuple[Run, ...]":
        if self.quantize:
            return (Run(self.name, self),)
        return tuple(Run(f"{self.name}-s{seed}", self, seed) for seed in self.seeds)

    @property
    def files(self) -> set[str]:
        """The label files that it needs."""
        options = self.train or self.quantize
        calibration = [self.quantize["calibration"]] if self.quantize else []
        return {*options.get("data", ()), *calibration, *self.evaluate}


@dataclass(frozen=True)
class Run:
    """``seed`` is ``None`` for a quantization."""

    name: str
    row: Row
    seed: int | None = None

    def arguments(self, data: Path | str = "DIR", runs: Path | str = RUNS) -> list[str]:
        """What follows `mobileyolact` on the command line."""
        if self.row.quantize:
            words = ["quantize", placed(self.row.quantize["checkpoint"], data, runs)]
            options = {**self.row.quantize, "val": self.row.evaluate[0]}
            del options["checkpoint"]
        else:
            words, options = ["train"], {**self.row.train, "seed": self.seed}
        for option, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                words.append(f"--{option}")
                words += [] if item is True else [placed(str(item), data, runs)]
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
    # A quantization is called like its only run.
    names = [run.name for row in rows for run in row.runs]
    names += [row.name for row in rows if not row.quantize]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"{path} has two rows or runs of one name, {name}; rename one")
    for row in rows:
        if row.group not in plan.groups:
            raise OptionError(f"{path}: row {row.name} is in no group of [groups]")
        if row.verdict not in ("", *VERDICTS):
            raise OptionError(f"{path}: the verdict of {row.name} is not one of {VERDICTS}")
        for file in row.files - set(plan.files):
            raise OptionError(f"{path}: {file} of row {row.name} is not described in [files]")
    return plan


def _row(table: dict[str, Any]) -> Row:
    name = table["name"]
    if ("train" in table) == ("quantize" in table) or not table["evaluate"]:
        raise KeyError(f"{name} needs evaluate, and either train or quantize")
    if "train" in table and not table["train"]["data"]:
        raise KeyError(f"{name} needs data")
    if "quantize" in table and (
        not {"checkpoint", "calibration"} <= table["quantize"].keys() or "seeds" in table
    ):
        raise KeyError(f"{name} needs checkpoint and calibration, and no seeds")
    if "seed" in table.get("train", ()):
        raise KeyError(f"the seed of {name} belongs into seeds")
    return Row(**{k: tuple(v) if k in ("evaluate", "seeds") else v for k, v in table.items()})


def _expanded(matrices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for matrix in matrices:
        group, kind = matrix["group"], "quantize" if "quantize" in matrix else "train"
        for variant, options in matrix["variants"].items():
            row = {
                "name": f"{group}-{variant}",
                "group": group,
                "what": options["what"],
                kind: {**matrix.get(kind, {}), **options},
                "evaluate": matrix.get("evaluate", []),
            }
            del row[kind]["what"]
            if "seeds" in matrix:
                row["seeds"] = matrix["seeds"]
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


def placed(value: str, data: Path | str, runs: Path | str) -> str:
    """The value of an option with ``@RUN`` and names of files in DIR as paths."""
    if value.startswith("@"):
        return f"{runs}/{value[1:]}/best.safetensors"
    return f"{data}/{value}" if value.endswith((".json", ".safetensors")) else value
