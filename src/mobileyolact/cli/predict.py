"""``mobileyolact predict``: pictures in, drawn masks and JSON out."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobileyolact.cli.opening import open_backend_for
from mobileyolact.cli.sources import find_pictures, name_results
from mobileyolact.errors import ImageError, OptionError

if TYPE_CHECKING:
    from mobileyolact.runtime.predictor import Predictor

# Up to so many pictures get a row each; more get a progress bar and one summary.
TABLE_ROWS = 12


@dataclass(frozen=True)
class _Result:
    """What one picture gave, for the table and the JSON; times in milliseconds."""

    source: Path
    found: Counter[str]
    stages: dict[str, float]
    as_json: dict[str, Any] | None


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Pictures, folders, or globs such as 'a/**/*.jpg'."
        ),
    ],
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="A name (see 'models'), an artefact or a checkpoint."),
    ] = "coco",
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="DIR|FILE", help="Folder, or file for a single picture."
        ),
    ] = Path("out"),
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="onnxruntime, ncnn, or torch for a checkpoint."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    score: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Keep instances of at least this score.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write boxes, classes, scores and masks (COCO RLE) here."
        ),
    ] = None,
) -> None:
    """Find instances in pictures and draw their masks.

    Results are named like the pictures; several of one name are numbered, and a picture itself is
    never overwritten. An unreadable picture is reported on standard error while the rest go on;
    the exit code is then 1.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mobileyolact.runtime.predictor import Predictor

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    pictures, problems = find_pictures(sources)
    if not pictures:
        raise OptionError("; ".join(problems))
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    targets = name_results(pictures, output)
    overrides: dict[str, Any] = {} if score is None else {"score_threshold": score}
    results: list[_Result] = []
    failures: dict[str, str] = {}
    with Predictor(open_backend_for(model, backend, threads), **overrides) as predictor:
        many = len(pictures) > 1 and console.is_terminal
        with Progress(console=console, transient=True, disable=not many) as progress:
            pairs = zip(pictures, targets, strict=True)
            for picture, target in progress.track(pairs, len(pictures), description="predict"):
                try:
                    results.append(
                        _predict_one(predictor, picture, target, with_json=json_file is not None)
                    )
                except ImageError as error:
                    failures[str(picture)] = str(error)
                    console.print(f"error: {error}", markup=False)
        engine = predictor.backend.describe()
    if json_file is not None:
        _write_json(json_file, model, results, failures)
    _report(results, f"{engine}; times in ms; pictures in {targets[0].parent}")
    if problems or failures:
        raise typer.Exit(1)


def _predict_one(
    predictor: "Predictor", picture: Path, target: Path, *, with_json: bool
) -> _Result:
    from mobileyolact.runtime.draw import draw
    from mobileyolact.runtime.image import open_image

    start = time.perf_counter()
    image = open_image(picture)
    read = time.perf_counter()
    instances, timings = predictor.timed(image)
    instances = instances.distinct()
    done = time.perf_counter()
    _write_picture(target, draw(image, instances))
    drawn = time.perf_counter()
    stages = {
        "read": 1e3 * (read - start),
        "preprocess": timings.preprocess_ms,
        "network": timings.network_ms,
        "postprocess": timings.postprocess_ms,
        "draw": 1e3 * (drawn - done),
    }
    as_json = None
    if with_json:
        as_json = {
            "source": str(picture),
            "picture": str(target),
            "height": image.shape[0],
            "width": image.shape[1],
            "milliseconds": {stage: round(ms, 2) for stage, ms in stages.items()},
            "instances": instances.to_json(),
        }
    return _Result(picture, Counter(instances.class_names), stages, as_json)


def _write_picture(target: Path, image: Any) -> None:
    from PIL import Image

    from mobileyolact.files import write_beside

    kind = Image.registered_extensions()[target.suffix.lower()]
    with write_beside(target) as beside:
        Image.fromarray(image).save(beside, kind, quality=92)


def _write_json(path: Path, model: str, results: list[_Result], failures: dict[str, str]) -> None:
    from mobileyolact.files import write_beside

    content = {
        "model": model,
        "images": [result.as_json for result in results],
        "errors": [{"source": source, "error": text} for source, text in failures.items()],
    }
    with write_beside(path) as beside:
        beside.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _report(results: list[_Result], caption: str) -> None:
    """A row for each of few pictures, sums and medians for many."""
    from statistics import median

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not results:
        return
    stages = list(results[0].stages)
    headers = (stage.replace("process", "-\nprocess") for stage in stages)
    table = Table("picture", "found", *headers, box=None, caption=escape(caption))
    table.padding, table.pad_edge = (0, 2, 0, 0), False
    for column in table.columns[2:]:
        column.justify = "right"
    rows = [(r.source.name, r.found, r.stages) for r in results]
    if len(results) > TABLE_ROWS:
        medians = {stage: median(r.stages[stage] for r in results) for stage in stages}
        found = Counter({"instances": sum(r.found.total() for r in results)})
        rows = [(f"{len(results)} pictures, medians", found, medians)]
    for name, counts, times in rows:
        named = ", ".join(f"{n} {name}" if n > 1 else name for name, n in counts.most_common())
        table.add_row(escape(name), escape(named), *(f"{times[s]:.1f}" for s in stages))
    Console(highlight=False).print(table)
