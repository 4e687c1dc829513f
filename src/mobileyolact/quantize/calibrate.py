"""Calibration: the float network looks at pictures, and the ranges of its tensors are kept."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import SUM_FACTORS, Codes, QuantizedConv, QuantizedLayers
from mobileyolact.quantize.execute import Touch, execute, stored_weights
from mobileyolact.quantize.observe import Method, Observer, choose_reach
from mobileyolact.quantize.ptq import Ranges
from mobileyolact.quantize.sharing import shared_steps
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

MOST_PICTURES = 128
_CUT = 3.0  # what is cut off in front of a leaky ReLU counts so many times


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


def choose_sum_factors(
    graph: Graph, record: QuantizedLayers, observers: Mapping[str, Observer]
) -> QuantizedLayers:
    """``record`` with the ``sum_factor`` of each leaky ReLU that loses less on what was seen.

    What its byte cuts off errs to one side, and counts more where channels are sized by their sums:
    then few reach so far. Before training they are not, see ``equalized``.
    """
    convs, cut = dict(record.convs), 1.0 if record.summary.method == "qat" else _CUT
    for layer in graph.layers:
        if not isinstance(layer, Conv) or layer.name not in convs or layer.activation is None:
            continue
        if layer.activation.kind == "leaky_relu":
            name, slope = layer.outputs[0], layer.activation.slope
            choices = [replace(convs[layer.name], sum_factor=factor) for factor in SUM_FACTORS]
            errors = [
                _sum_error(observers[name], record.tensors[name], conv, slope, cut)
                for conv in choices
            ]
            convs[layer.name] = choices[int(np.argmin(errors))]
    return replace(record, convs=convs)


def _sum_error(
    seen: Observer, codes: Codes, conv: QuantizedConv, slope: float, weight: float
) -> float:
    """The squared error of the values behind a leaky ReLU, by rounding and cutting off its sum.

    What is cut off counts ``weight`` times.
    """
    values, step = seen.centres, conv.sum_step(codes)
    least = -conv.sum_zero * step * slope
    cut = (np.minimum(values - least, 0)) ** 2
    # At factor 1 a sum above 0 is a code already; below 0 its rounding shrinks with the slope.
    twice = step if conv.sum_factor > 1 else 0.0
    rounded = np.where(values > 0, twice, step * slope) ** 2 / 12
    return float(((weight * cut + rounded) * seen.counts).sum())


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
