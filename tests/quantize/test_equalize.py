"""An equalized network computes the same from channels that are more alike."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract
from mobileyolact.export.graph import Add, Conv, Graph
from mobileyolact.export.trace import trace_origins
from mobileyolact.quantize.equalize import equalize, equalized
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

Arrays = dict[str, Any]


def uneven(make_network: Callable[..., Any], preset: str) -> tuple[Any, ModelContract]:
    """A network whose channels differ in size as much as those of trained ones do."""
    network, contract = make_network(preset, size=64)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            factors = torch.empty(len(module.weight)).log_normal_(0, 1, generator=generator)
            with torch.no_grad():
                module.weight.mul_(factors)
                module.bias.mul_(factors)
    return network, contract


def tensors_of(network: Any, contract: ModelContract, picture: Path) -> tuple[Graph, Arrays, Any]:
    """The graph, all of its tensors on ``picture``, and the modules of its convolutions."""
    graph, origins = trace_origins(network, (3, *contract.input_size))
    found: Arrays = {}

    def see(name: str, value: Any) -> Any:
        found[name] = value[0].double().numpy()
        return value

    image, _ = preprocess(open_image(picture), contract)
    with torch.inference_mode():
        execute(graph, torch.from_numpy(image), stored_weights(graph), see)
    return graph, found, origins


def same(before: Any, after: Any) -> bool:
    return bool(np.abs(after - before).max() < 1e-4 * np.abs(before).max())


def spread(tensor: Any) -> float:
    """How unlike channels with any values are in size: the deviation of its logarithm."""
    sizes = np.abs(tensor).max((1, 2))
    return float(np.log(sizes[sizes > 0]).std())


@pytest.mark.parametrize(
    ("preset", "count", "example"),
    [
        ("n-416", 50, "backbone.stem"),  # max pooling lies between it and its readers
        ("s-320", 20, "backbone.stride4.0.project"),
        ("paper-320", 8, "backbone.stride4.0.project"),
    ],
)
def test_the_same_is_computed_from_channels_that_are_more_alike(
    preset: str, count: int, example: str, make_network: Callable[..., Any], pictures: list[Path]
) -> None:
    network, contract = uneven(make_network, preset)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    result = equalized(network, contract, pictures)
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name]), "the given network is another one"

    graph, before, _ = tensors_of(network, contract, pictures[0])
    _, after, origins = tensors_of(result, contract, pictures[0])
    changed = {name for name in before if not same(before[name], after[name])}
    assert changed.isdisjoint(graph.outputs)
    written = [x for x in graph.layers if isinstance(x, Conv) and x.outputs[0] in changed]
    assert len(written) > count and example in changed
    ratios = [spread(after[x.name]) / spread(before[x.name]) for x in written]
    assert max(ratios) < 0.9 and np.median(ratios) < 0.65

    assert not [x for x in written if x.activation and x.activation.kind == "relu6"]
    uses = Counter(id(origin.conv) for origin in origins.values())
    shared = {name for name, origin in origins.items() if uses[id(origin.conv)] > 1}
    assert bool(shared) == (preset == "paper-320")
    for layer in graph.layers:
        if isinstance(layer, Add) or layer.name in shared:
            assert changed.isdisjoint((*layer.inputs, *layer.outputs)), layer.name


def test_what_a_grouped_convolution_reads_is_left_alone() -> None:
    def conv(name: str, source: str, shape: tuple[int, ...], groups: int = 1) -> Conv:
        weight = np.ones(shape, np.float32)
        bias = np.zeros(shape[0], np.float32)
        return Conv(
            name=name, inputs=(source,), outputs=(name,), weight=weight, bias=bias, groups=groups
        )

    writer = conv("x", "image", (4, 3, 1, 1))
    graph = Graph((writer, conv("y", "x", (4, 2, 1, 1), groups=2)), (3, 8, 8), ("y",))
    assert equalize(graph, {}, {}) == 0
