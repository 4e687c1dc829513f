"""``mobileyolact predict``: pictures and videos in, drawn masks and JSON out."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from mobileyolact.cli.lines import one_line
from mobileyolact.cli.naming import check_json, folder_of, name_results
from mobileyolact.cli.needs import need
from mobileyolact.cli.opening import open_backend_for, runs_in_torch
from mobileyolact.cli.sources import find_sources
from mobileyolact.errors import MobileYolactError, OptionError


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
    from mobileyolact.cli.ahead import Ahead, count_workers
    from mobileyolact.cli.pictures import Picture
    from mobileyolact.cli.progress import PredictProgress
    from mobileyolact.cli.records import open_records
    from mobileyolact.cli.report import report
    from mobileyolact.cli.run import Run
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
    jobs = [
        target if source.is_video else Picture(source.path, target)
        for source, target in zip(found, targets, strict=True)
    ]
    # PyTorch itself spreads a network over the cores.
    workers = 1 if runs_in_torch(model, backend) else count_workers(threads or 1)
    with (
        Ahead((job for job in jobs if isinstance(job, Picture)), workers) as ahead,
        Predictor(open_backend_for(model, backend, threads), **overrides) as predictor,
        open_records(json_file, model, as_lines=bool(videos)) as records,
        StopSignals() as stop,
        PredictProgress(len(found)) as progress,
    ):
        ahead.use(predictor)
        run = Run(predictor, ahead, records, progress, stop)
        run.all(found, jobs)
        failed, results = run.failed, run.results
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
