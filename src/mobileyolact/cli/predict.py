"""``mobileyolact predict``: pictures and videos in, drawn masks and JSON out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobileyolact.cli.lines import one_line
from mobileyolact.cli.naming import check_json, folder_of, name_results
from mobileyolact.cli.needs import need
from mobileyolact.cli.opening import open_backend_for
from mobileyolact.cli.sources import Source, find_sources
from mobileyolact.errors import ImageError, MobileYolactError, OptionError

if TYPE_CHECKING:
    from mobileyolact.cli.progress import PredictProgress
    from mobileyolact.cli.records import Records
    from mobileyolact.cli.report import Result
    from mobileyolact.runtime.predictor import Predictor
    from mobileyolact.stopping import StopSignals


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, folders, globs such as 'a/**/*.jpg', videos, or camera:0.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="A name (see 'models'), an artefact or a checkpoint."),
    ] = "coco",
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="DIR|FILE", help="Folder, or file for a single source."
        ),
    ] = Path("out"),
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="onnxruntime, ncnn, torchscript, or torch for a checkpoint."
        ),
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
    """Find instances in pictures, videos or a camera's pictures, and draw their masks.

    Results are named like the sources; several of one name are numbered, and no source is ever
    overwritten. What cannot be read is reported on standard error, a line each, while the rest
    go on; the exit code is then 1. A place that cannot be written ends the run.

    A folder stands for the pictures in it. Of an animation the first frame is taken.

    Videos and cameras need the extra 'video'. The copy has the times of the source's frames and
    no sound. Ctrl-C ends it after the frame at hand; what has been done is then a complete video.
    With a video among the sources, --json writes JSON Lines, an object for each frame.
    """
    from mobileyolact.cli.progress import PredictProgress
    from mobileyolact.cli.records import open_records
    from mobileyolact.cli.report import report
    from mobileyolact.runtime.predictor import Predictor
    from mobileyolact.stopping import StopSignals

    # Pillow warns of large pictures and odd metadata, in lines that say nothing to a user.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    found, problems = find_sources(sources, folder_of(output))
    if not found:
        raise OptionError("; ".join(problems))
    targets = name_results(found, output)
    videos = [source for source in found if source.is_video]
    if videos:
        need("video", f"'{videos[0]}'")
    if json_file is not None:
        check_json(json_file, found, targets)
    for problem in problems:
        typer.echo(f"error: {one_line(problem)}", err=True)
    overrides: dict[str, Any] = {} if score is None else {"score_threshold": score}
    with (
        Predictor(open_backend_for(model, backend, threads), **overrides) as predictor,
        open_records(json_file, model, as_lines=bool(videos)) as records,
        StopSignals() as stop,
        PredictProgress(len(found)) as progress,
    ):
        results, failed = _predict_all(predictor, found, targets, records, progress, stop)
        try:
            records.finish()
        except MobileYolactError as error:
            progress.say(f"error: {error}")
            failed = True
        engine = predictor.backend.describe()
    report(results, f"{engine}; times in ms; results in {targets[0].parent}")
    if failed or problems:
        raise typer.Exit(1)
    if stop.received is not None and (len(results) < len(found) or found[-1].camera is None):
        raise typer.Exit(128 + stop.received)


def _predict_all(
    predictor: "Predictor",
    sources: Sequence[Source],
    targets: Sequence[Path],
    records: "Records",
    progress: "PredictProgress",
    stop: "StopSignals",
) -> tuple[list["Result"], bool]:
    """The results, and whether something went wrong."""
    from mobileyolact.cli.pictures import predict_picture
    from mobileyolact.cli.videos import predict_video

    def note(text: str) -> None:
        progress.say(f"note: {text}")

    results: list[Result] = []
    failed = False
    for source, target in zip(sources, targets, strict=True):
        try:
            if source.is_video:
                result = predict_video(predictor, source, target, records, progress, stop)
            else:
                result = predict_picture(predictor, source.path, target, records, note)
            results.append(result)
            error: str | None = result.problem
            if error:
                records.add_error(str(source), error)
        except ImageError as problem:
            error = str(problem)
            records.add_error(str(source), error)
        except MobileYolactError as problem:
            # Where one result cannot be written, no other can: the disk is full, for example.
            progress.say(f"error: {problem}")
            return results, True
        if error:
            failed = True
            progress.say(f"error: {error}")
        progress.advance()
        if stop.received is not None:
            if len(results) < len(sources):
                progress.say(f"stopped after {len(results)} of {len(sources)} sources")
            break
    return results, failed
