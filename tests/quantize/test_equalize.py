"""An equalized network computes the same from channels that lose less when they are rounded."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.trace import Origin, build_graph, trace_origins
from mobileyolact.quantize import equalize as equalize_module
from mobileyolact.quantize.calibrate import choose_sum_factors, observe, ranges_of
from mobileyolact.quantize.equalize import equalize, equalized
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.fake import FakeQuantized
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

Arrays = dict[str, Any]


def uneven(
    make_network: Callable[..., Any], preset: str, seed: int = 0
) -> tuple[Any, ModelContract]:
    """A network whose channels differ in size as much as those of trained ones do."""
    network, contract = make_network(preset, size=64, seed=seed)
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


def noise(network: Any, contract: ModelContract, pictures: list[Path]) -> Any:
    """What rounding does to each output, as a share of its power."""
    graph = build_graph(network, contract)
    convs = choose_convs(graph, "full")
    observers = observe(graph, contract, pictures)
    ranges = ranges_of(graph, convs, observers, "mse")
    record = quantize_layers(graph, convs, ranges, Quantization("full", "ptq"))
    record = choose_sum_factors(graph, record, observers)
    image = torch.from_numpy(preprocess(open_image(pictures[0]), contract)[0])
    with torch.inference_mode():
        exact = execute(graph, image, stored_weights(graph))
        rounded = FakeQuantized(network, contract, record)(image)
    pairs = zip(exact, rounded[: len(exact)], strict=True)
    return np.array([float(((a - b) ** 2).sum() / (a**2).sum()) for a, b in pairs])


@pytest.mark.parametrize(
    ("preset", "seed", "count", "example", "most_noise"),
    [
        ("n-416", 0, 110, "backbone.stage3.1.shuffle", 0.5),
        ("s-320", 0, 80, "backbone.stride8.1.add", 0.5),
        # Most of its tensors are cut off by a ReLU6, and chance decides in one network of four.
        ("paper-320", 2, 20, "backbone.stride4.0.project", 0.6),
    ],
)
def test_the_same_is_computed_and_rounding_costs_less(
    preset: str,
    seed: int,
    count: int,
    example: str,
    most_noise: float,
    make_network: Callable[..., Any],
    pictures: list[Path],
) -> None:
    network, contract = uneven(make_network, preset, seed)
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
    ratio = noise(result, contract, pictures) / noise(network, contract, pictures)
    assert (ratio < most_noise).all()

    assert not [x for x in written if x.activation and x.activation.kind == "relu6"]
    uses = Counter(id(origin.conv) for origin in origins.values())
    shared = {name for name, origin in origins.items() if uses[id(origin.conv)] > 1}
    assert bool(shared) == (preset == "paper-320")
    for layer in graph.layers:
        if layer.name in shared:
            assert changed.isdisjoint((*layer.inputs, *layer.outputs)), layer.name


@pytest.mark.parametrize("by_sums", [True, False])
def test_a_channel_that_is_mostly_negative_counts_by_its_sum_if_that_is_wanted(
    by_sums: bool,
    make_network: Callable[..., Any],
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, contract = make_network("n-320", size=64)
    found: list[Arrays] = []
    monkeypatch.setattr(equalize_module, "equalize", lambda g, o, sizes: found.append(sizes))
    equalized(network, contract, pictures, by_sums=by_sums)
    sizes: Arrays = {}
    for picture in pictures:
        graph, tensors, _ = tensors_of(network, contract, picture)
        for layer in graph.layers:
            values = tensors[layer.outputs[0]]
            if values.ndim == 3:
                leaky = isinstance(layer, Conv) and layer.activation is not None
                # Half of what the sum was, whose tenth came out.
                low = -values.min((1, 2)) * (5 if leaky and by_sums else 1)
                high = np.maximum(values.max((1, 2)), low)
                sizes[layer.outputs[0]] = sizes.get(layer.outputs[0], 0) + high / len(pictures)
    assert sizes
    for name, size in sizes.items():
        np.testing.assert_allclose(found[0][name], size, rtol=1e-4, atol=1e-6)


def test_what_a_grouped_convolution_reads_is_left_alone() -> None:
    def conv(name: str, source: str, shape: tuple[int, ...], groups: int = 1) -> Conv:
        weight = np.ones(shape, np.float32)
        bias = np.zeros(shape[0], np.float32)
        return Conv(
            name=name, inputs=(source,), outputs=(name,), weight=weight, bias=bias, groups=groups
        )

    layers = (conv("x", "image", (4, 3, 1, 1)), conv("y", "x", (4, 2, 1, 1), groups=2))
    graph = Graph((*layers, conv("z", "y", (4, 4, 1, 1))), (3, 8, 8), ("z",))
    modules = (nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1))
    before = [module.weight.detach().clone() for module in modules]
    names = [layer.name for layer in graph.layers]
    origins = {name: Origin(module, None) for name, module in zip(names, modules, strict=True)}
    sizes = np.array([1.0, 2.0, 3.0, 4.0])
    equalize(graph, origins, {name: sizes[: shape[0]] for name, shape in graph.shapes.items()})
    assert all(torch.equal(x.weight, y) for x, y in zip(modules, before, strict=True))
