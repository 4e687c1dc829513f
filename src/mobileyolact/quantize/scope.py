"""Which convolutions are computed with integers."""

from collections.abc import Collection
from typing import Literal

from mobileyolact.contract import OUTPUT_NAMES
from mobileyolact.errors import OptionError, nearest
from mobileyolact.export.channels import is_depthwise
from mobileyolact.export.graph import INPUT_NAME, Conv, Graph, MaxPool

Scope = Literal["full", "backbone"]

PROTOTYPES = OUTPUT_NAMES[3]


def choose_convs(graph: Graph, scope: Scope, keep_float: Collection[str] = ()) -> frozenset[str]:
    """Names of the convolutions of ``scope`` that become integer ones.

    The first convolution, which reads the picture, depthwise ones that read what it writes, and the
    last ones, which write the outputs, stay float in either scope: they are few operations, and
    what they lose nothing gives back. But prototypes are many numbers, of which bytes are enough:
    masks are sums of all of them.

    Args:
        graph: the layers.
        scope: ``backbone`` is what the paper quantizes.
        keep_float: names of more convolutions that stay float.

    Raises:
        OptionError: ``keep_float`` names a convolution that does not exist; the nearest is named.
    """
    convs = {layer.name: layer for layer in graph.layers if isinstance(layer, Conv)}
    for name in keep_float:
        if name not in convs:
            raise OptionError(f"the model has no convolution '{name}'{nearest(name, convs)}")
    first, last = _near_the_picture(graph), _reaching_outputs(graph)
    return frozenset(
        name
        for name, layer in convs.items()
        if (scope == "full" or name.startswith("backbone."))
        and name not in keep_float
        and name not in first
        and name not in last
    )


def behind_the_first(graph: Graph) -> list[str]:
    """The convolutions that read what the first one writes, as it is or pooled.

    Its values differ little from one position to the next, next to the few largest ones, so that
    common steps take more from them than from any other tensor.
    """
    written, found = set[str](), list[str]()
    for layer in graph.layers:
        if isinstance(layer, Conv) and INPUT_NAME in layer.inputs:
            written.update(layer.outputs)
        elif not written.isdisjoint(layer.inputs):
            if isinstance(layer, MaxPool):
                written.update(layer.outputs)
            elif isinstance(layer, Conv):
                found.append(layer.name)
    return found


def _near_the_picture(graph: Graph) -> set[str]:
    """The convolutions that read the picture, and depthwise ones right behind them."""
    found, written = set[str](), set[str]()
    for layer in graph.layers:
        if isinstance(layer, Conv) and INPUT_NAME in layer.inputs:
            found.add(layer.name)
            written.update(layer.outputs)
        elif is_depthwise(layer) and not written.isdisjoint(layer.inputs):
            found.add(layer.name)
    return found


def _reaching_outputs(graph: Graph) -> set[str]:
    """Convolutions with no other one between them and an output that is not prototypes."""
    reaching, found = set(graph.outputs) - {PROTOTYPES}, set[str]()
    for layer in reversed(graph.layers):
        if reaching.isdisjoint(layer.outputs):
            continue
        if isinstance(layer, Conv):
            found.add(layer.name)
        else:
            reaching.update(layer.inputs)
    return found
