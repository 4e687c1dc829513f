"""Calibration: the float network looks at pictures, and the ranges of its tensors are kept."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.export.graph import Graph
from mobileyolact.quantize.execute import Touch, execute, stored_weights
from mobileyolact.quantize.observe import Method, Observer, choose_reach
from mobileyolact.quantize.ptq import Ranges
from mobileyolact.quantize.sharing import shared_steps
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

MOST_PICTURES = 128


def observe(
    graph: Graph, contract: ModelContract, pictures: Sequence[Path]
) -> Mapping[str, Observer]:
    """What every tensor of ``graph`` holds on pictures, read one at a time.

    Of more than ``MOST_PICTURES`` so many are taken, evenly spread.

    Raises:
        OptionError: no picture.
        ImageError: a picture that cannot be read.
        ModelError: NaN or infinity in a tensor.
    """
    observers: dict[str, Observer] = defaultdict(Observer)

    def see(name: str, value: Tensor) -> Tensor:
        observers[name].see(name, value)
        return value

    look(graph, contract, pictures, MOST_PICTURES, see)
    return dict(observers)


def look(
    graph: Graph, contract: ModelContract, pictures: Sequence[Path], most: int, see: Touch
) -> None:
    """Run ``graph`` in float on ``most`` of ``pictures``, one at a time; ``see`` is its touch."""
    if not pictures:
        raise OptionError("there is no picture to calibrate on; give a folder with some")
    weights = stored_weights(graph)
    with torch.inference_mode():
        for picture in evenly(pictures, most):
            tensor, _ = preprocess(open_image(picture), contract)
            execute(graph, torch.from_numpy(tensor), weights, see)


def evenly(pictures: Sequence[Path], most: int) -> list[Path]:
    """At most ``most`` of ``pictures``, evenly spread over them, in their order."""
    count = min(most, len(pictures))
    return [pictures[i * len(pictures) // count] for i in range(count)]


def ranges_of(
    graph: Graph, convs: Collection[str], observers: Mapping[str, Observer], method: Method
) -> Ranges:
    """Ranges of the tensors that are codes once ``convs`` are integer convolutions.

    Each range is what was seen, clipped to what ``method`` chose for all tensors that share a
    step.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for group in shared_steps(graph, convs):
        members = [observers[name] for name in group]
        reach = choose_reach(members, method)
        for name in group:
            ranges[name] = max(-reach, observers[name].low), min(reach, observers[name].high)
    return ranges
