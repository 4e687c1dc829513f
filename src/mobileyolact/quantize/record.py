"""From what was seen on the pictures to the int8 record of a graph."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import Graph
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.quantize.calibrate import choose_sum_factors, ranges_of
from mobileyolact.quantize.observe import Observer
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.rounding import Grams, rounded_together
from mobileyolact.quantize.scope import Scope, behind_the_first, choose_convs


@dataclass(frozen=True)
class Calibration:
    """What was seen on the pictures; without ``grams``, each weight is rounded by itself."""

    observers: Mapping[str, Observer]
    grams: Grams


def record_of(
    graph: Graph,
    seen: Calibration,
    summary: Quantization,
    keep_float: Collection[str] = (),
) -> QuantizedLayers:
    """The int8 record of ``graph``; kernels that were trained to be rounded are so, to the nearest.

    Others are rounded more carefully, and what training would have to make up for stays float.
    """
    trained = summary.method == "qat"
    left_out = keep_float if trained else {*keep_float, *behind_the_first(graph)}
    convs = choose_convs(graph, cast(Scope, summary.scope), left_out)
    ranges = ranges_of(graph, convs, seen.observers, "mse")
    record = quantize_layers(graph, convs, ranges, summary)
    if seen.grams:
        names = record.stored if trained else {**record.convs, **record.stored}
        record = rounded_together(graph, record, seen.grams, names)
    return choose_sum_factors(graph, record, seen.observers)
