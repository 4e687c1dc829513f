"""Which tensors are codes, and which of them share one step: decided here, once for all engines."""

from collections.abc import Collection

from mobileyolact.export.graph import Add, Conv, Graph


def shared_steps(graph: Graph, convs: Collection[str]) -> tuple[frozenset[str], ...]:
    """The tensors that are codes, in groups that share a step.

    What an integer convolution reads or writes is a code. So is what a layer without weights makes
    of codes alone: a sum has a step of its own, all other such layers move values or take means
    of neighbours, and their inputs and outputs share one step, so that nothing is rounded again.
    A layer may still have float inputs and give codes, or the other way round: it is then
    computed in float.

    Args:
        graph: the layers.
        convs: names of the convolutions that are computed with integers.

    Returns:
        Disjoint groups in the order in which the graph writes their first tensor.
    """
    codes = set[str]()
    for layer in graph.layers:
        if isinstance(layer, Conv) and layer.name in convs:
            codes.update(layer.inputs, layer.outputs)
    for layer in graph.layers:
        if not isinstance(layer, Conv) and codes.issuperset(layer.inputs):
            codes.update(layer.outputs)
    group_of = {name: {name} for name in graph.shapes if name in codes}
    for layer in graph.layers:
        if isinstance(layer, Conv | Add):
            continue
        together = [name for name in (*layer.inputs, *layer.outputs) if name in codes]
        merged = set[str]().union(*(group_of[name] for name in together))
        group_of.update(dict.fromkeys(merged, merged))
    return tuple(dict.fromkeys(frozenset(group) for group in group_of.values()))
