"""``mobileyolact benchmark``: how long models take on this machine, stage by stage."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobileyolact.cli.lines import one_line
from mobileyolact.cli.measuring import write_json
from mobileyolact.cli.opening import find_model
from mobileyolact.errors import ModelError, OptionError

if TYPE_CHECKING:
    from mobileyolact.benchmark.device import Device
    from mobileyolact.benchmark.subject import Subject


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Names (see 'models'), artefacts, checkpoints, or ONNX and ncnn files of other "
            "projects.",
        ),
    ],
    threads: Annotated[
        str,
        typer.Option(metavar="LIST", help="Threads of each engine, such as 1,2, one run for each."),
    ] = "1",
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Size of the picture; by default 1280x720, or that of --image."
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The picture; by default a built-in one of noise."),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1000,
            metavar="N",
            help="Postprocess and draw so many instances, whatever the network finds.",
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Input of files of other projects that do not say it themselves."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="onnxruntime, ncnn, torchscript, or torch for a checkpoint."
        ),
    ] = None,
    project: Annotated[
        bool,
        typer.Option(
            "--project", help="Estimate the network's time on phones too, from the ncnn files."
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")
    ] = None,
) -> None:
    """Time models from the picture's pixels to masks: median, 90th percentile and minimum.

    Each model runs in a process of its own, several take turns, and the ratio is to the first one.
    Threads bound engine, OpenCV and numpy alike.

    A file of another project, ONNX or ncnn (.param and .bin), runs on random input for the time of
    its network alone, with which the total of the others is then compared.

    The pictures of noise hold no objects. With --instances N the network's outputs are replaced,
    after it has done its work, by those of N objects with sides of 4 to 29 % of the picture's.

    With --project public networks whose times on phones are published are timed here as well, and
    those of the models there are estimated, with an error measured by leaving networks out.
    """
    from rich.console import Console

    from mobileyolact.benchmark.device import describe_device
    from mobileyolact.benchmark.timing import Setting, run_benchmark
    from mobileyolact.cli.benchmark_phones import find_networks, show_projection
    from mobileyolact.cli.benchmark_tables import show

    numbers = _numbers(threads)
    setting = Setting(
        image=image,
        size=_size(image_size, "--image-size"),
        instances=instances,
        input_size=_size(input_size, "--input-size"),
    )
    subjects = [_subject(model, backend) for model in models]
    networks = find_networks(models, setting.input_size) if project else []
    _warn(describe_device())
    with Console(stderr=True).status("benchmark") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"benchmark: round {done + 1} of {total}")

        result = run_benchmark(subjects, numbers, setting, progress=progress)
        content = result.to_json()
        if networks:
            from mobileyolact.benchmark.projecting import run_projection

            projection = run_projection(networks, progress=progress)
            content["projection"] = projection.to_json()
    if json_file is not None:
        write_json(json_file, content)
    show(result)
    if networks:
        show_projection(projection)


def _subject(model: str, backend: str | None) -> "Subject":
    """The file that MODEL names; that of another project need not be called as ours are."""
    from mobileyolact.benchmark.subject import Subject

    if model.lower().endswith(".param"):
        path = Path(model)
        if not path.is_file():
            raise ModelError(f"there is no model file '{model}'; check the path")
        return Subject(model, path, backend)
    return Subject(model, find_model(model, backend), backend)


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) <= 1024 for word in words):
        raise OptionError(f"--threads must be numbers such as 1 or 1,2, got '{text}'")
    return list(dict.fromkeys(map(int, words)))


def _size(text: str | None, option: str) -> tuple[int, int] | None:
    """``1280x720`` as (width, height)."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    sides = [int(side) for side in (width, height) if side.isascii() and side.isdigit()]
    if len(sides) != 2 or min(sides) < 1:
        raise OptionError(f"{option} must be a width and a height such as 1280x720, got '{text}'")
    return sides[0], sides[1]


def _warn(device: "Device") -> None:
    from mobileyolact.benchmark.device import BUSY

    if device.busy:
        typer.echo(
            one_line(
                f"warning: in the last minute {device.load:.2f} cores were busy on average; above "
                f"{BUSY} times say little: stop other programs and measure again"
            ),
            err=True,
        )
