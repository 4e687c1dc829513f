"""Which tensors are codes, and which of them share one step: decided here, once for all engines."""

from collections.abc import Collection

from mobileyolact.export.graph import Add, Conv, Graph, Layer, Resize, ResizeTo


def shared_steps(graph: Graph, convs: Collection[str]) -> tuple[frozenset[str], ...]:
    """The tensors that are codes, in groups that share a step.

    What an integer convolution reads or writes is a code. So is what a layer without weights makes
    of codes alone: a sum has a step of its own, all other such layers move values or take means
    of neighbours, and their inputs and outputs share one step, so that nothing is rounded again.
    A layer may still have float inputs and give codes, or the other way round: it is then
    computed in float, and nothing is rounded for its sake.

    Args:
        graph: the layers.
        convs: names of the convolutions that are computed with integers.

    Returns:
        Disjoint groups in the order in which the graph writes their first tensor.
    """
    codes = _codes(graph, convs)
    group_of = {name: {name} for name in graph.shapes if name in codes}
    for layer in graph.layers:
        if isinstance(layer, Conv | Add):
            continue
        together = [name for name in (*layer.inputs, *layer.outputs) if name in codes]
        merged = set[str]().union(*(group_of[name] for name in together))
        group_of.update(dict.fromkeys(merged, merged))
    return tuple(dict.fromkeys(frozenset(group) for group in group_of.values()))


def _codes(graph: Graph, convs: Collection[str]) -> set[str]:
    needed = set[str]()
    for layer in graph.layers:
        if isinstance(layer, Conv) and layer.name in convs:
            needed.update(layer.inputs, layer.outputs)
    codes = set(needed)
    others = [layer for layer in graph.layers if not isinstance(layer, Conv)]
    for layer in others:
        if codes.issuperset(layer.inputs):
            codes.update(layer.outputs)
    # No engine interpolates codes: rounding what comes out pays only for a reader of codes.
    for layer in reversed(others):
        name = layer.outputs[0]
        used = any(
            name in reader.inputs and codes.issuperset((*reader.inputs, *reader.outputs))
            for reader in others
        )
        if _interpolates(layer) and name not in needed and not used:
            codes.discard(name)
    return codes


def _interpolates(layer: Layer) -> bool:
    return isinstance(layer, ResizeTo) or (isinstance(layer, Resize) and layer.mode == "bilinear")
