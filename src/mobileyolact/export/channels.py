"""Where the channels of a graph come from, and where their order does not matter."""

from collections import defaultdict
from collections.abc import Mapping

from mobileyolact.export.graph import INPUT_NAME, Concat, Conv, Graph, Layer, Shape, Shuffle, Split

Channel = tuple[str, int]  # a tensor that is not merely moved channels, and the channel in it


def is_dense(layer: Layer) -> bool:
    """Whether each channel of the output is made of all channels of the input."""
    return isinstance(layer, Conv) and layer.groups == 1


def is_depthwise(layer: Layer) -> bool:
    """Whether each channel of the output is made of the same channel of the input alone."""
    return (
        isinstance(layer, Conv) and layer.groups > 1 and layer.weight.shape[:2] == (layer.groups, 1)
    )


def is_mover(layer: Layer, shapes: Mapping[str, Shape]) -> bool:
    """Whether ``layer`` does no more than join, cut or shuffle channels (channels, h, w)."""
    moves = isinstance(layer, Split | Shuffle) or (isinstance(layer, Concat) and layer.axis == 0)
    return moves and all(len(shapes[name]) == 3 for name in layer.inputs)


def readers_of(graph: Graph) -> dict[str, list[Layer]]:
    """The layers that read each tensor; none is listed for an output that only a runtime reads."""
    readers: dict[str, list[Layer]] = defaultdict(list)
    for layer in graph.layers:
        for name in layer.inputs:
            readers[name].append(layer)
    return readers


def trace_channels(graph: Graph) -> dict[str, list[Channel]]:
    """Where each channel of each tensor (channels, h, w) comes from, all movers undone."""
    channels = {
        name: [(name, i) for i in range(shape[0])]
        for name, shape in graph.shapes.items()
        if len(shape) == 3
    }
    for layer in graph.layers:
        if not is_mover(layer, graph.shapes):
            continue
        moved = [channel for name in layer.inputs for channel in channels[name]]
        if isinstance(layer, Shuffle):
            size = len(moved) // layer.groups
            moved = [channel for i in range(size) for channel in moved[i::size]]
        for name in layer.outputs:
            count = graph.shapes[name][0]
            channels[name], moved = moved[:count], moved[count:]
    return channels


def orderless_tensors(graph: Graph) -> set[str]:
    """Tensors that none but convolutions read in the end: kernels can follow their order.

    Zeros may lie between their channels too. Depthwise convolutions and movers pass on the order
    that they find, so that it has to be free behind them; movers do not follow a depthwise one.
    """
    readers, found = readers_of(graph), set[str]()

    def follows(layer: Layer) -> bool:
        if is_depthwise(layer):
            behind = readers[layer.outputs[0]]
            passes = not any(is_mover(reader, graph.shapes) for reader in behind)
        else:
            passes = is_mover(layer, graph.shapes)
        return is_dense(layer) or (passes and found.issuperset(layer.outputs))

    for name in reversed(list(graph.shapes)):
        fixed = name == INPUT_NAME or name in graph.outputs
        if not fixed and all(follows(layer) for layer in readers[name]):
            found.add(name)
    return found
