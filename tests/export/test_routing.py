"""Graphs with fewer moves: the same outputs, no shuffles, no channel where it does not belong."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.export.channels import orderless_tensors, trace_channels
from mobileyolact.export.faster import faster
from mobileyolact.export.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Graph,
    Layer,
    MaxPool,
    Pads,
    Shuffle,
    Split,
)
from mobileyolact.export.routing import routed
from mobileyolact.export.trace import build_graph
from mobileyolact.model.presets import PRESETS
from mobileyolact.quantize.execute import execute, stored_weights

GENERATOR = np.random.default_rng(5)
LEAKY = Activation("leaky_relu", 0.1)


def conv(name: str, source: str, inputs: int, outputs: int, kernel: int = 1) -> Conv:
    """A dense convolution; one called ``dw`` is depthwise."""
    depthwise = "dw" in name
    shape = (outputs, 1 if depthwise else inputs, kernel, kernel)
    pad = kernel // 2
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=GENERATOR.normal(size=shape).astype(np.float32),
        bias=GENERATOR.normal(size=outputs).astype(np.float32),
        pads=Pads(pad, pad, pad, pad),
        groups=outputs if depthwise else 1,
        activation=None if depthwise else LEAKY,
    )


def joined(name: str, *sources: str) -> Concat:
    return Concat(name=name, inputs=sources, outputs=(name,), axis=0)


def graph(layers: Sequence[Layer], *outputs: str, channels: int = 3) -> Graph:
    return Graph(tuple(layers), (channels, 6, 7), outputs)


def unit(before: str, index: int, half: int) -> list[Layer]:
    """A unit of ShuffleNetV2: one half of the channels goes through a branch."""
    name = f"unit{index}"
    return [
        Split(name=f"{name}.split", inputs=(before,), outputs=(f"{name}.kept", f"{name}.in")),
        conv(f"{name}.pw1", f"{name}.in", half, half),
        conv(f"{name}.dw", f"{name}.pw1", half, half, 3),
        conv(f"{name}.pw2", f"{name}.dw", half, half),
        joined(f"{name}.concat", f"{name}.kept", f"{name}.pw2"),
        Shuffle(name=name, inputs=(f"{name}.concat",), outputs=(name,), groups=2),
    ]


def stage(half: int, units: int) -> list[Layer]:
    """Two convolutions of the image that are shuffled, then ``units``, then two that read it."""
    layers: list[Layer] = [
        conv("left", "image", 3, half),
        conv("right", "image", 3, half),
        joined("first", "left", "right"),
        Shuffle(name="unit0", inputs=("first",), outputs=("unit0",), groups=2),
    ]
    for index in range(1, units + 1):
        layers += unit(f"unit{index - 1}", index, half)
    last = f"unit{units}"
    return [
        *layers,
        conv("end.dw", last, 2 * half, 2 * half, 3),
        conv("end", "end.dw", 2 * half, 5),
        conv("side", last, 2 * half, 4),
    ]


def run(network: Graph, seed: int = 0) -> list[Any]:
    image = torch.randn(1, *network.input_shape, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return [x.numpy() for x in execute(network, image, stored_weights(network))]


def assert_same(before: Graph, after: Graph) -> None:
    for a, b in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * np.abs(a).max())


def kinds(network: Graph) -> Counter[str]:
    return Counter(type(layer).__name__ for layer in network.layers)


@pytest.mark.parametrize("half", [5, 6, 8, 29])
@pytest.mark.parametrize("units", [1, 2, 5])
def test_a_stage_keeps_its_outputs_without_a_shuffle(half: int, units: int) -> None:
    before = graph(stage(half, units), "end", "side")
    after = routed(before, 4)
    assert_same(before, after)
    found = kinds(after)
    assert found["Shuffle"] == 0
    # One cut behind each convolution whose channels part; one join before each that reads them.
    assert found["Split"] <= units + 1 < kinds(before)["Split"] + kinds(before)["Shuffle"] + 1
    assert found["Concat"] == units + 1
    assert found["Conv"] == kinds(before)["Conv"]


@pytest.mark.parametrize("multiple", [4, 8])
def test_channels_between_convolutions_are_multiples(multiple: int) -> None:
    after = routed(graph(stage(5, 3), "end", "side"), multiple)
    for layer in after.layers:
        if isinstance(layer, Conv) and layer.inputs[0] not in ("image",):
            assert after.shapes[layer.inputs[0]][0] % multiple == 0
    assert after.shapes["end"][0] == 5  # an output has the channels that it had


def test_what_other_layers_read_stays_in_order() -> None:
    """A sum, a pooled tensor and an output read shuffled channels: these movers remain."""
    shuffled = Shuffle(name="mixed", inputs=("both",), outputs=("mixed",), groups=2)
    a, b = (conv(name, "image", 3, 6) for name in "ab")
    pool = MaxPool(name="y", inputs=("mixed",), outputs=("y",), kernel=2, stride=2, padding=0)
    add = Add(name="y", inputs=("mixed", "both"), outputs=("y",))
    for tail, output in ([pool], "y"), ([add], "y"), ([], "mixed"):
        layers = [a, b, joined("both", "a", "b"), shuffled, *tail, conv("c", "mixed", 12, 2)]
        before = graph(layers, output, "c")
        after = routed(before, 4)
        assert kinds(after) == kinds(before)
        assert_same(before, after)


def test_a_convolution_read_unmoved_too_is_not_cut() -> None:
    """By another convolution, or by a runtime."""
    layers = [
        conv("a", "image", 3, 8),
        Split(name="cut", inputs=("a",), outputs=("low", "high")),
        conv("b", "high", 4, 4),
        conv("c", "a", 8, 4),
    ]
    for outputs in ("b", "c"), ("b", "a"):
        before = graph(layers[: 3 + outputs.count("c")], *outputs)
        after = routed(before, 4)
        assert kinds(after) == kinds(before)
        assert_same(before, after)


def test_a_convolution_is_not_cut_for_one_reader_and_moved_for_another() -> None:
    """The picture's own channels are in one of two joined tensors, which so stays as it is."""
    layers = [
        conv("a", "image", 3, 6),
        Split(name="cut", inputs=("a",), outputs=("low", "high")),
        joined("mixed", "image", "high"),
        conv("b", "mixed", 6, 4),
        joined("turned", "high", "low"),
        conv("c", "turned", 6, 4),
    ]
    before = graph(layers, "b", "c")
    after = routed(before, 4)
    assert kinds(after) == kinds(before)
    assert_same(before, after)


def test_what_is_cut_behind_a_depthwise_convolution_stays() -> None:
    layers = [
        conv("a", "image", 3, 5),
        conv("b", "image", 3, 5),
        joined("both", "a", "b"),
        Shuffle(name="mixed", inputs=("both",), outputs=("mixed",), groups=2),
        conv("dw", "mixed", 10, 10, 3),
        Split(name="cut", inputs=("dw",), outputs=("low", "high")),
        conv("c", "low", 5, 4),
        conv("d", "high", 5, 4),
    ]
    before = graph(layers, "c", "d")
    after = routed(before, 4)
    assert kinds(after) == kinds(before)
    assert_same(before, after)


def test_a_channel_may_come_twice() -> None:
    before = graph(
        [conv("a", "image", 3, 4), joined("both", "a", "a"), conv("b", "both", 8, 4)], "b"
    )
    after = routed(before, 4)
    assert kinds(after) == kinds(before)
    assert_same(before, after)


def test_an_unread_channel_is_not_computed() -> None:
    layers = [
        conv("a", "image", 3, 8),
        Split(name="cut", inputs=("a",), outputs=("low", "high")),
        conv("b", "high", 4, 4),
    ]
    after = routed(graph(layers, "b"), 4)
    assert [layer.name for layer in after.layers] == ["a", "b"]
    assert after.shapes["a"][0] == 4
    assert_same(graph(layers, "b"), after)


def test_channels_are_traced_through_movers() -> None:
    network = graph(stage(2, 1), "end", "side")
    channels = trace_channels(network)
    assert channels["unit0"] == [("left", 0), ("right", 0), ("left", 1), ("right", 1)]
    assert channels["unit1.in"] == [("left", 1), ("right", 1)]
    expected = [("left", 0), ("unit1.pw2", 0), ("right", 0), ("unit1.pw2", 1)]
    assert channels["unit1"] == expected
    orderless = orderless_tensors(network)
    assert {"left", "unit1.pw1", "unit1.dw", "unit1", "end.dw"} <= orderless
    assert orderless.isdisjoint({"image", "end", "side"})


def random_graph(seed: int) -> Graph:
    """Convolutions, movers and others that read whatever is there, and some outputs of it all."""
    choice = random.Random(seed)
    layers: list[Layer] = []
    channels = {"image": 3}
    for i in range(choice.randrange(4, 22)):
        source = choice.choice(list(channels)[-5:])
        other = choice.choice(list(channels))
        count, name, one = channels[source], f"t{i}", {"inputs": (source,), "outputs": (f"t{i}",)}
        made: list[Layer] = [conv(name, source, count, choice.randrange(2, 13))]
        if count > 1:
            made.append(conv(f"{name}.dw", source, count, count))
        made += [
            joined(name, source, other),
            MaxPool(name=name, **one, kernel=1, stride=1, padding=0),
            Add(name=name, inputs=(source, source), outputs=(name,)),
        ]
        if count % 2 == 0:
            made.append(Shuffle(name=name, **one, groups=2))
            made.append(Split(name=name, inputs=(source,), outputs=(f"{name}.a", f"{name}.b")))
        weights = [{Conv: 4, MaxPool: 1, Add: 1}.get(type(layer), 5) for layer in made]
        layers += choice.choices(made, weights)
        channels = {n: shape[0] for n, shape in graph(layers, *layers[-1].outputs).shapes.items()}
    names = [name for name in channels if name != "image"]
    return graph(layers, *choice.sample(names, min(3, len(names))))


def test_random_graphs_keep_their_outputs() -> None:
    fewer = 0
    for seed in range(300):
        before = random_graph(seed)
        after = routed(before, 4)
        assert_same(before, after)
        fewer += len(after.layers) < len(before.layers)
    assert fewer > 100


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.endswith("-320")])
def test_presets_keep_their_outputs(preset: str, make_network: Callable[..., Any]) -> None:
    network, contract = make_network(preset, size=96)
    before = build_graph(network, contract)
    after = faster(before)
    for a, b in zip(run(before), run(after), strict=True):
        noise, signal = np.square(b - a).sum(), np.square(a).sum()
        assert a.shape == b.shape
        assert noise <= 1e-11 * signal  # 110 dB
    assert kinds(after)["Shuffle"] == 0
    # What levels share is still stored once.
    stored = [{id(x.weight) for x in g.layers if isinstance(x, Conv)} for g in (before, after)]
    assert len(stored[0]) == len(stored[1])


def test_shufflenet_moves_less(make_network: Callable[..., Any]) -> None:
    before = build_graph(*make_network("n-320", size=224))
    after = routed(before, 4)
    found, earlier = kinds(after), kinds(before)
    assert (earlier["Shuffle"], earlier["Split"], earlier["Concat"]) == (16, 13, 31)
    # Each of 16 units joins once; of the 19 convolutions behind them 3 end a stage uncut.
    assert (found["Shuffle"], found["Split"], found["Concat"]) == (0, 16, 31)
    assert after.macs() < 1.01 * before.macs()
