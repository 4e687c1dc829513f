"""Time the networks of a group's rows in every engine, for docs/results.md.

    python research/row_times.py GROUP [--rounds N]

The networks take turns on one thread, each in a process of its own. How long they take does not
depend on their weights, which are random here. What is found goes to research/times/GROUP.json;
`make docs` shows it. GMACs are 10^9 multiply-accumulates for one picture.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plan import Plan, read_plan
from results_page import HERE, TIMES

from mobileyolact import zoo
from mobileyolact.benchmark.subject import Subject
from mobileyolact.benchmark.timing import ROUNDS, run_benchmark
from mobileyolact.errors import MobileYolactError, OptionError, nearest
from mobileyolact.export.artefact import EXPORTERS
from mobileyolact.export.faster import faster
from mobileyolact.export.trace import build_graph
from mobileyolact.files import write_beside
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.summary import summarise
from mobileyolact.runtime.backends import open_backend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", metavar="GROUP")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    try:
        plan = read_plan(HERE / "experiments.toml")
        found = measure(presets_of(plan, options.group), options.rounds)
    except MobileYolactError as error:
        sys.exit(f"error: {error}")
    path = HERE / TIMES / f"{options.group}.json"
    path.parent.mkdir(exist_ok=True)
    with write_beside(path) as beside:
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{path}; now: make docs")


def presets_of(plan: Plan, group: str) -> dict[str, str]:
    """The preset of each row of ``group`` that trains one."""
    if group not in plan.groups:
        raise OptionError(f"there is no group '{group}'{nearest(group, plan.groups)}")
    rows = (row for row in plan.rows if row.group == group)
    presets = {row.name: row.train["preset"] for row in rows if "preset" in row.train}
    if not presets:
        raise OptionError(f"no row of the group '{group}' trains a network")
    return presets


def measure(presets: dict[str, str], rounds: int) -> dict[str, Any]:
    """GMACs and median milliseconds by engine of each preset, with COCO's classes."""
    backend = open_backend(zoo.resolve("coco"))
    classes = backend.contract.classes
    backend.close()
    rows: dict[str, dict[str, Any]] = {}
    subjects = []
    with tempfile.TemporaryDirectory() as folder:
        for row, name in presets.items():
            preset = get_preset(name)
            contract = build_contract(preset, classes)
            graph = faster(build_graph(build_network(preset, len(classes)), contract))
            rows[row] = {"gmacs": round(sum(summarise(preset, len(classes)).gmacs.values()), 3)}
            for _, exporter in sorted(EXPORTERS.items()):
                path = exporter.files(Path(folder), row)[0]
                exporter.write(graph, contract, path)
                subjects.append((row, exporter.name, Subject(path.name, path)))
        result = run_benchmark([subject for *_, subject in subjects], rounds=rounds)
    for (row, engine, _), model in zip(subjects, result.models, strict=True):
        rows[row][engine] = model.to_json()["stages"]["network"]["median_ms"]
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "rounds": rounds, "device": asdict(result.device), "rows": rows}


if __name__ == "__main__":
    main()
