"""Channels go from the convolution that writes them straight to those that read them.

ShuffleNetV2 joins, shuffles and cuts its channels between any two units. Where each of them ends is
known beforehand. So a convolution writes its channels in the order in which they are needed, they
are cut once, and each reader joins the parts that it needs, with its kernel in their order.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mobileyolact.export.channels import (
    Channel,
    is_dense,
    is_depthwise,
    is_mover,
    orderless_tensors,
    readers_of,
    trace_channels,
)
from mobileyolact.export.graph import Concat, Conv, Graph, Layer, Split

Order = Sequence[Channel | None]  # None is a channel of zeros


@dataclass(frozen=True)
class _Part:
    """Channels of one convolution that are needed together: a tensor of the new graph."""

    name: str
    order: Order
    readers: frozenset[str]  # the tensors that it is joined into


def routed(graph: Graph, multiple: int) -> Graph:
    """``graph`` with fewer layers that do no more than move channels, and smaller ones.

    Between convolutions, numbers of channels are filled up to a ``multiple`` with zeros, since
    engines compute so many at a time. Outputs are the same but for the order of sums.
    Convolutions keep their names.
    """
    return _Router(graph, multiple).route()


class _Router:
    """``joined`` are the movers' tensors that are joined of ``parts`` instead of moved."""

    def __init__(self, graph: Graph, multiple: int) -> None:
        self.graph, self.multiple = graph, multiple
        self.channels = trace_channels(graph)
        self.orderless = orderless_tensors(graph)
        self.readers = readers_of(graph)
        self.writers = {name: layer for layer in graph.layers for name in layer.outputs}
        self.joined = self.find_joined()
        self.parts = self.cut()
        self.layers: list[Layer] = []
        self.names: dict[str, str] = {}  # of joined tensors that are a single part
        self.orders: dict[str, Order] = {}  # of tensors that are not ordered as in ``graph``

    def route(self) -> Graph:
        remaining = {layer.name for layer in self.movers_besides(self.joined)}
        for layer in self.graph.layers:
            if is_mover(layer, self.graph.shapes):
                if layer.name in remaining:
                    self.layers.append(layer)
                continue
            moved = replace(layer, inputs=tuple(self.join(name) for name in layer.inputs))
            if isinstance(moved, Conv):
                self.convolution(moved, layer.inputs[0])
            else:
                self.layers.append(moved)
        return Graph(tuple(self.layers), self.graph.input_shape, self.graph.outputs)

    def find_joined(self) -> list[str]:
        """What convolutions read of movers, where dense ones wrote all of it for no one else."""
        found = [
            name
            for layer in self.graph.layers
            if is_mover(layer, self.graph.shapes)
            for name in layer.outputs
            if not self.only_moved(name)
            and name in self.orderless
            and all(self.can_cut(origin) for origin, _ in self.channels[name])
            and len(set(self.channels[name])) == len(self.channels[name])
        ]
        while True:
            # A mover that remains reads channels as they were.
            kept = {
                origin
                for layer in self.movers_besides(found)
                for name in layer.inputs
                for origin, _ in self.channels[name]
            }
            left = [n for n in found if all(origin not in kept for origin, _ in self.channels[n])]
            if left == found:
                return found
            found = left

    def movers_besides(self, joined: Collection[str]) -> list[Layer]:
        """The movers that are needed where the tensors ``joined`` need none."""
        needed = {
            name
            for name in self.graph.shapes
            if name not in joined and (name in self.graph.outputs or not self.only_moved(name))
        }
        found = list[Layer]()
        for layer in reversed(self.graph.layers):
            if is_mover(layer, self.graph.shapes) and not needed.isdisjoint(layer.outputs):
                found.append(layer)
                needed.update(layer.inputs)
        return found

    def only_moved(self, name: str) -> bool:
        return all(is_mover(layer, self.graph.shapes) for layer in self.readers[name])

    def can_cut(self, origin: str) -> bool:
        writer = self.writers.get(origin)
        return (
            writer is not None
            and is_dense(writer)
            and self.only_moved(origin)
            and origin not in self.graph.outputs
        )

    def cut(self) -> dict[str, list[_Part]]:
        """The parts of what each convolution writes, those first that are needed first."""
        users: dict[Channel, list[str]] = defaultdict(list)
        for name in self.joined:
            for channel in self.channels[name]:
                users[channel].append(name)
        groups: dict[str, dict[tuple[str, ...], list[Channel | None]]] = {}
        for channel, names in users.items():
            of_origin = groups.setdefault(channel[0], {})
            of_origin.setdefault(tuple(names), []).append(channel)
        for name in self.joined:
            # The zeros that it lacks come from the convolution that is computed last.
            last = max((o for o, _ in self.channels[name]), key=list(self.graph.shapes).index)
            if (name,) in groups[last]:
                groups[last][(name,)] += self.zeros(len(self.channels[name]))
        return {
            origin: [
                _Part(origin if len(of) == 1 else f"{origin}.part{i}", order, frozenset(names))
                for i, (names, order) in enumerate(of.items())
            ]
            for origin, of in groups.items()
        }

    def join(self, name: str) -> str:
        """What stands for the tensor ``name`` in the new graph; adds the layer that joins it."""
        if name not in self.joined or name in self.names:
            return self.names.get(name, name)
        origins = dict.fromkeys(origin for origin, _ in self.channels[name])
        parts = [part for o in origins for part in self.parts[o] if name in part.readers]
        self.names[name] = parts[0].name if len(parts) == 1 else name
        if len(parts) > 1:
            inputs = tuple(part.name for part in parts)
            self.layers.append(Concat(name=name, inputs=inputs, outputs=(name,), axis=0))
            self.orders[name] = [channel for part in parts for channel in part.order]
        return self.names[name]

    def convolution(self, layer: Conv, source: str) -> None:
        """Add ``layer``, which read ``source``, with its kernel in the order of its new input."""
        (output,) = layer.outputs
        order = self.orders.get(layer.inputs[0])
        if order is not None:
            place = {channel: i for i, channel in enumerate(self.channels[source])}
            places = [None if channel is None else place.get(channel) for channel in order]
            if is_depthwise(layer):
                self.orders[output] = [None if i is None else (output, i) for i in places]
                layer = replace(_rows(layer, places), groups=len(places))
            else:
                layer = replace(layer, weight=_take(layer.weight, places, 1))
        parts = self.parts.get(output)
        if parts is None:
            grows = is_dense(layer) and self.can_grow(output)
            zeros = self.zeros(len(layer.bias)) if grows else []
            if not zeros:
                self.layers.append(layer)
                return
            parts = [_Part(output, [*self.channels[output], *zeros], frozenset())]
        for part in parts:
            self.orders[part.name] = part.order
        self.layers.append(_rows(layer, [c and c[1] for part in parts for c in part.order]))
        if len(parts) > 1:
            names, sizes = zip(*((part.name, len(part.order)) for part in parts), strict=True)
            self.layers.append(
                Split(name=f"{output}.split", inputs=(output,), outputs=names, sizes=sizes)
            )

    def zeros(self, count: int) -> list[None]:
        """What ``count`` channels lack."""
        return [None] * (-count % self.multiple)

    def can_grow(self, name: str) -> bool:
        """Whether zeros may follow the channels of ``name``, which is not cut."""
        unmoved = not any(is_mover(x, self.graph.shapes) for x in self.readers[name])
        return unmoved and name in self.orderless


def _rows(layer: Conv, places: Sequence[int | None]) -> Conv:
    """``layer`` with other output channels: those at ``places``, and zeros where there is none."""
    return replace(layer, weight=_take(layer.weight, places, 0), bias=_take(layer.bias, places, 0))


def _take(
    values: NDArray[np.float32], places: Iterable[int | None], axis: int
) -> NDArray[np.float32]:
    """As ``np.take``, with zeros where a place is ``None``."""
    one = np.zeros_like(values, shape=[1 if i == axis else n for i, n in enumerate(values.shape)])
    end = values.shape[axis]
    return np.concatenate([values, one], axis).take([end if i is None else i for i in places], axis)
