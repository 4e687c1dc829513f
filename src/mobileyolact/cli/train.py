"""``mobileyolact train``: labels in, a checkpoint out."""

from pathlib import Path
from typing import Annotated

import typer

from mobileyolact.cli.needs import need


def train(
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="LABELS", help="COCO JSON to train on; repeatable."),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="COCO JSON that decides which weights are the best."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run.")
    ] = Path("training"),
    preset: Annotated[str, typer.Option(help="Network, see 'presets'.")] = "n-416",
    init: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="coco (the default, if the preset has it), imagenet, none, or a checkpoint.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="coco|FILE",
            help="Learn detections from it, and masks where the labels have none.",
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Pictures that the teacher alone explains; repeatable."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures are, if not found.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Length; by default from the number of pictures.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures an iteration, all processes together.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws order, augmentation, weights.")] = None,
    freeze: Annotated[
        str | None, typer.Option(help="none, backbone, or detector (all but the masks).")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of new layers; loaded ones: a tenth.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any other training option, e.g. zoom=0.5,2."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU.")] = None,
) -> None:
    """Train on your own labels, by default from the embedded COCO model.

    The best weights are DIR/best.safetensors. A run that was stopped, by Ctrl-C or otherwise,
    goes on when the same command is given again.
    """
    need("train", "train")
    if val is not None:
        need("eval", "train --val")
    from mobileyolact.stopping import TrainingStopped
    from mobileyolact.train.config import read_option
    from mobileyolact.train.run import run_training

    given = {
        "iterations": iterations,
        "batch_size": batch_size,
        "seed": seed,
        "freeze": freeze,
        "rate_new": rate,
    }
    try:
        run_training(
            data or [],
            output,
            val=val,
            images=images,
            preset=preset,
            init=init,
            teacher=teacher,
            unlabelled=unlabelled or [],
            threads=threads,
            options={
                **{name: value for name, value in given.items() if value is not None},
                **dict(read_option(text) for text in options or ()),
            },
            say=typer.echo,
        )
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.exit_code) from None
