"""The same network in fewer operations: what float files are written from."""

from mobileyolact.export.graph import Graph
from mobileyolact.export.pruning import without_constants
from mobileyolact.export.routing import routed


def faster(graph: Graph) -> Graph:
    """``graph`` without constant channels and with as little moving of channels as possible.

    Outputs are the same but for float rounding: 115 dB and more on the embedded model, where half
    the precision of the weights costs 54 dB. For float files: int8 has a step for each tensor of
    the network as it was trained.
    """
    return routed(without_constants(graph))
