"""Which convolutions cost the most once they are integer ones: a cheap stand-in for AP.

A layer's *noise* is what the outputs differ by, as a share of their own power, when it alone is
int8. Noise of many layers adds up roughly, so it ranks them; only average precision judges them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.fake import fake_codes

PROXY = "noise power by signal power of the outputs, with this layer alone in int8"

_SHOWN = 40
_ROW, _LEFT, _WIDTH = 16, 330, 420  # pixels of the plot


@dataclass(frozen=True)
class LayerEffect:
    """One convolution: its ``noise`` on each output, and its ``share`` of the sum of all noise."""

    layer: str
    noise: tuple[float, ...]
    share: float


def layer_effects(
    graph: Graph, record: QuantizedLayers, images: Sequence[NDArray[np.float32]]
) -> list[LayerEffect]:
    """The effect of each integer convolution of ``record``, the worst first.

    Args:
        graph: the float layers.
        record: its steps and integer kernels.
        images: inputs (1, 3, H, W); two tell the worst layers from the others.
    """
    weights = stored_weights(graph)
    tensors = [torch.from_numpy(image) for image in images]
    convs = [x for x in graph.layers if isinstance(x, Conv) and x.name in record.convs]
    with torch.inference_mode():
        references = [execute(graph, image, weights) for image in tensors]
        signal = _power(references)
        noise = []
        for conv in convs:
            found = [_alone(graph, record, conv, image) for image in tensors]
            differences = [
                tuple(a - b for a, b in zip(outputs, reference, strict=True))
                for outputs, reference in zip(found, references, strict=True)
            ]
            noise.append(_power(differences) / signal)
    total = float(np.sum(noise)) or 1.0
    effects = [
        LayerEffect(conv.name, tuple(n.tolist()), float(n.sum()) / total)
        for conv, n in zip(convs, noise, strict=True)
    ]
    return sorted(effects, key=lambda effect: -effect.share)


def _alone(graph: Graph, record: QuantizedLayers, conv: Conv, image: Tensor) -> tuple[Tensor, ...]:
    """The outputs when ``conv`` alone is int8: its kernel, its input and its output."""
    weights = stored_weights(graph)
    kernel = torch.from_numpy(record.convs[conv.name].values)

    def weight(layer: Conv) -> tuple[Tensor, Tensor]:
        stored, bias = weights(layer)
        return (kernel, bias) if layer is conv else (stored, bias)

    def touch(name: str, value: Tensor) -> Tensor:
        coded = name in conv.inputs or name in conv.outputs
        return fake_codes(value, record.tensors[name]) if coded else value

    return execute(graph, image, weight, touch)


def _power(outputs: Sequence[tuple[Tensor, ...]]) -> NDArray[np.float64]:
    squares = [[float(x.double().square().sum()) for x in one] for one in outputs]
    power: NDArray[np.float64] = np.sum(squares, 0) + 1e-30
    return power


def plot(effects: Sequence[LayerEffect], title: str) -> str:
    """The worst layers as an SVG bar chart, a bar's length the share of all noise."""
    shown = effects[:_SHOWN]
    largest = max((effect.share for effect in shown), default=1.0) or 1.0
    rows = []
    for place, effect in enumerate(shown):
        y = 40 + place * _ROW
        length = max(1.0, _WIDTH * effect.share / largest)
        rows.append(
            f'<text x="{_LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(effect.layer)}</text>'
            f'<rect x="{_LEFT}" y="{y + 2}" width="{length:.1f}" height="{_ROW - 4}"/>'
            f'<text x="{_LEFT + length + 5:.1f}" y="{y + 11}">{effect.share:.1%}</text>'
        )
    width, height = _LEFT + _WIDTH + 60, 48 + len(shown) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="8" y="18" font-size="13">{escape(title)}</text>'
        f'<g fill="#1f6feb">{"".join(rows)}</g></svg>\n'
    ).replace("<text", '<text fill="#111"')
