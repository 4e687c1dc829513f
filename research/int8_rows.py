"""Rows that quantize: what is recorded of their files, and what the page shows of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

# Of the notes that `mobileyolact quantize` leaves beside its files.
KEPT_FACTS = (
    "calibration_pictures",
    "integer_convolutions",
    "kept_float",
    "share_of_float32",
    "milliseconds",
)

Formats = Mapping[str, Mapping[str, Any]]  # what is recorded, by format


def measure_files(
    folder: Path, checkpoint: Path, labels: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """What the notes in ``folder`` say, and mask AP on the labels that they do not know of.

    Args:
        folder: where ``mobileyolact quantize`` wrote to.
        checkpoint: the float model.
        labels: label files by name; on the first the command itself has measured.
    """
    from mobileyolact.labels.formats import read_labels
    from mobileyolact.model.backend import TorchBackend
    from mobileyolact.quantize.judging import judge_by_labels

    reference = TorchBackend.open(checkpoint)
    first, *others = labels
    judges = {
        name: judge_by_labels(reference, read_labels(labels[name]), lambda *_: None)
        for name in others
    }
    formats = {}
    for path in sorted(folder.glob("*.int8.*.measured.json")):
        note = json.loads(path.read_text(encoding="utf-8"))
        model = path.with_name(next(iter(note["bytes"])))
        found = {name: judge(model).to_json() for name, judge in judges.items()}
        found = {first: note["mask"], **found}
        formats[note["format"]] = {
            **{fact: note[fact] for fact in KEPT_FACTS},
            "ap50_kept": ap50_kept(found),
            "evaluation": {
                name: {
                    figure: {key: rounded(value) for key, value in judged[figure].items()}
                    for figure in ("AP", "AP50")
                }
                for name, judged in found.items()
            },
        }
    return formats


def ap50_kept(evaluation: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The mean AP50 over label files, as a share of the float model's; none if that finds nothing.

    Where there are several, the first has all classes, the others some alone.
    """
    figures = [judged["AP50"] for judged in evaluation.values()]
    before, after = ([figure[model] for figure in figures] for model in ("float", "quantized"))
    return round(sum(after) / sum(before), 4) if None not in before and any(before) else None


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def int8_lines(formats: Formats, files: Sequence[str]) -> Iterator[dict[str, str]]:
    """Cells by column, one line a format; ``files`` as in the row's ``evaluate``."""
    for name, facts in formats.items():
        judged = facts["evaluation"]
        times = facts["milliseconds"]
        yield {
            "format": name,
            "mask AP": _change(judged[files[0]]["AP"]),
            "AP change": _interval(judged[files[0]]["AP"]),
            "AP50": _change(judged[files[0]]["AP50"]),
            "AP50 change": _interval(judged[files[0]]["AP50"]),
            "person": _change(judged[files[-1]]["AP50"]) if len(files) > 1 else "",
            "kept": "-" if facts["ap50_kept"] is None else f"{100 * facts['ap50_kept']:.1f} %",
            "mean of passes": _spread(facts.get("ap50_kept_in_passes")),
            "size": f"{facts['share_of_float32']:.3f}",
            "time": f"{times['quantized'] / times['float']:.2f}",
            "convolutions": str(facts["integer_convolutions"]),
            "left in float": str(len(facts["kept_float"]) or ""),
        }


def _spread(shares: Sequence[float] | None) -> str:
    """Mean and standard deviation of what was kept in several passes of ``int8_chance.py``."""
    if shares is None:
        return ""
    return f"{100 * mean(shares):.1f} ± {100 * stdev(shares):.1f} %"


def _change(figure: Mapping[str, float | None]) -> str:
    if figure["float"] is None:
        return "-"
    return f"{figure['float']:.3f} → {figure['quantized']:.3f}"


def _interval(figure: Mapping[str, float | None]) -> str:
    if figure["float"] is None:
        return "-"
    return f"{figure['difference']:+.3f} ({figure['low']:+.3f} to {figure['high']:+.3f})"
