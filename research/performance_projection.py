"""Times on phones, estimated: what performance.py measures of it, and its section of the page."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mobileyolact.benchmark.device import describe_device
from mobileyolact.benchmark.phones import sources
from mobileyolact.benchmark.projecting import ROUNDS, Network, run_projection
from mobileyolact.benchmark.reference.catalogue import REFERENCES

PROJECTION = "projection.json"

Record = dict[str, Any]

_HEAD = """
## On phones and boards, estimated

    mobileyolact benchmark coco --project

The time of the network alone, in milliseconds, and pictures a second of it: without resizing before
and masks behind, in ncnn on the CPU with its default of 16-bit floats, on a chip's big cores, cool.
In brackets what nine in ten times are expected within. Nothing here was measured on a phone. The
package's own ncnn backend keeps 32-bit arithmetic for the sake of accuracy, and is slower there.

{table}
\\* Nobody has published times of this chip on one thread: between those of Snapdragon 855+ and
8 Gen 2, its neighbours in age, within the wider of their bands.

{count} public networks whose times in ncnn on these chips are published are built by
`mobileyolact.benchmark.reference`, with random weights, and take turns here with the models; the
shortest of {rounds} times counts. A published time is taken for the speed of the chip, times the
time here plus a weight times the values that layers read and write, times what is special about the
network on all chips; logarithms are fitted by least squares
([0012](adr/0012-times-on-phones-from-times-here.md)). The published figures stand in

{sources}
How far off that is, is measured in the same run. Each family of networks is left out in turn, and
its published times are estimated from the others:

| chips with times of | times | median error | nine in ten within | time / estimate, 5 % to 95 % |
|---|---|---|---|---|
{errors}
The bands are those of the last column. They are wide for our networks, whose family (ShuffleNetV2)
is not left out then. Int8 is not estimated: published int8 times are 0.45 to 1.23 of the float
times on these chips, by chip and by network, and of four networks that are all unlike ours.
"""
_ERRORS = {"full tables": "many families", "short tables": "two families", "all": "both"}


def measure_projection(models: Mapping[str, Path]) -> Record:
    """Estimates for ncnn files by the name of their network."""
    device = describe_device()
    projection = run_projection([Network.of(name, path) for name, path in models.items()])
    about = {"date": datetime.now(UTC).date().isoformat(), "rounds": ROUNDS}
    return {"name": "projection", **about, "device": asdict(device), **projection.to_json()}


def section(record: Record) -> str:
    """The section of the page, but for the line that says where it was measured."""
    found = [f"- {source}: {', '.join(socs)}\n" for source, socs in sources().items()]
    return _HEAD.format(
        table=_table(record["models"]),
        count=len(REFERENCES),
        rounds=record["rounds"],
        sources="".join(found),
        errors="".join(_errors(record["left_out"][key], of) for key, of in _ERRORS.items()),
    )


def _table(models: list[Record]) -> str:
    """A row for each device and number of threads, two columns for each model."""
    names = [f"{model['name']} ms | FPS" for model in models]
    text = f"| | threads | {' | '.join(names)} |\n|---|---|{'---|' * 2 * len(models)}\n"
    for estimates in zip(*(model["devices"] for model in models), strict=True):
        first = estimates[0]
        star = "\\*" if first["interpolated"] else ""
        cells = [first["device"] + star, str(first["threads"])]
        for e in estimates:
            cells.append(f"{e['ms']:.1f} ({e['low_ms']:.1f} - {e['high_ms']:.1f})")
            cells.append(f"{e['fps']:.0f} ({e['low_fps']:.0f} - {e['high_fps']:.0f})")
        text += f"| {' | '.join(cells)} |\n"
    return text


def _errors(errors: Record, of: str) -> str:
    return (
        f"| {of} | {errors['count']} | {errors['median']:.0%} | {errors['p90']:.0%} "
        f"| {errors['low']:.2f} - {errors['high']:.2f} |\n"
    )
