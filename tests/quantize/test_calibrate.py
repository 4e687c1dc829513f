"""Pictures are looked at, and ranges are what was seen, clipped alike where a step is shared."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.errors import OptionError
from mobileyolact.export.graph import Activation, Concat, Conv, Graph
from mobileyolact.export.quantized import SUM_FACTORS, QuantizedConv, QuantizedLayers
from mobileyolact.quantize import calibrate
from mobileyolact.quantize.calibrate import choose_sum_factors, evenly, observe, ranges_of
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.observe import Observer
from mobileyolact.quantize.ptq import codes_for
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess


def conv(name: str, source: str, inputs: int) -> Conv:
    rng = np.random.default_rng(len(name) + inputs)
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=rng.normal(size=(4, inputs, 1, 1)).astype(np.float32),
        bias=rng.normal(size=4).astype(np.float32),
    )


GRAPH = Graph(
    (
        conv("stem", "image", 3),
        conv("left", "stem", 4),
        conv("right", "stem", 4),
        Concat(name="both", inputs=("left", "right"), outputs=("both",), axis=0),
        conv("y", "both", 8),
    ),
    (3, 32, 64),
    ("y",),
)


@pytest.mark.parametrize(
    ("count", "most", "places"),
    [(3, 128, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (10, 4, [0, 2, 5, 7]), (7, 1, [0])],
)
def test_some_pictures_evenly_spread_in_their_order(
    count: int, most: int, places: list[int]
) -> None:
    pictures = [Path(f"{i}.png") for i in range(count)]
    assert evenly(pictures, most) == [pictures[place] for place in places]


def test_all_tensors_of_all_pictures_are_seen_as_the_model_sees_them(
    pictures: list[Path], make_contract: Callable[..., ModelContract]
) -> None:
    contract = make_contract(std=(64.0, 64.0, 64.0))
    values: dict[str, list[Any]] = {}
    for picture in pictures:
        tensor, _ = preprocess(open_image(picture), contract)
        execute(
            GRAPH,
            torch.from_numpy(tensor),
            stored_weights(GRAPH),
            lambda name, value: values.setdefault(name, []).append(value) or value,
        )
    seen = observe(GRAPH, contract, pictures)
    assert seen.keys() == GRAPH.shapes.keys()
    for name, observer in seen.items():
        together = torch.stack(values[name])
        assert observer.low == min(0, float(together.min()))
        assert observer.high == float(together.max())
        assert observer.counts.sum() == together.numel()


def test_of_many_pictures_some_are_read(
    pictures: list[Path], make_contract: Callable[..., ModelContract], monkeypatch: Any
) -> None:
    monkeypatch.setattr(calibrate, "MOST_PICTURES", 1)
    seen = observe(GRAPH, make_contract(), [pictures[0], Path("never read")])
    assert seen["image"].counts.sum() == 3 * 32 * 64


def test_no_picture(make_contract: Callable[..., ModelContract]) -> None:
    with pytest.raises(OptionError, match="there is no picture to calibrate on"):
        observe(GRAPH, make_contract(), [])


def test_ranges_are_what_was_seen_within_the_reach_of_all_that_share_a_step() -> None:
    def observed(low: float, high: float, rare: float = 0.0) -> Observer:
        observer = Observer()
        common = torch.linspace(low, high, 100_000)
        observer.see("x", torch.cat([common, torch.tensor([rare])]))
        return observer

    seen = {
        "stem": observed(-3, 4),
        "left": observed(-1, 0.5, -30),
        "right": observed(-0.25, 2, 60),
        "both": observed(-1, 2, 60),
    }
    apart = ranges_of(GRAPH, {"left"}, seen, "percentile")
    assert apart.keys() == {"stem", "left"}
    assert apart["left"] == (pytest.approx(-1, abs=0.05), 0.5)
    together = ranges_of(GRAPH, {"left", "right"}, seen, "percentile")
    assert together["left"] == (pytest.approx(-2, abs=0.05), 0.5)
    assert together["right"] == (-0.25, -together["left"][0])
    exact = ranges_of(GRAPH, {"left", "right"}, seen, "absmax")
    assert exact == {"stem": (-3, 4), "left": (-30, 0.5), "right": (-0.25, 60), "both": (-1, 60)}


@pytest.mark.parametrize(("method", "weight"), [("ptq", 3), ("qat", 1)])
@pytest.mark.parametrize("mean", [1.0, 0.0, -1.5, -2.5, -4.0])
def test_bytes_of_a_sum_are_worth_what_loses_least(mean: float, method: str, weight: int) -> None:
    sums = np.random.default_rng(0).normal(mean, 1, 200_000)
    values = np.where(sums > 0, sums, 0.1 * sums)
    codes = codes_for(values.min(), values.max())
    observer = Observer()
    observer.see("y", torch.from_numpy(values))

    def error(factor: float) -> float:
        conv = QuantizedConv(kernel, np.ones(1, np.float32), factor)
        step, zero = conv.sum_step(codes), conv.sum_zero
        bytes_ = np.rint(sums / step).clip(-zero, 255 - zero)
        got = codes.step * np.rint(np.where(bytes_ > 0, bytes_, 0.1 * bytes_) * step / codes.step)
        cut = sums < -(zero + 0.5) * step
        return float((np.square(got - values) * np.where(cut, weight, 1)).mean())

    kernel = np.zeros((1, 1, 1, 1), np.int8)
    plain = dataclasses.replace(conv("y", "image", 3), activation=Activation("leaky_relu", 0.1))
    graph = Graph((plain,), (3, 4, 4), ("y",))
    convs = {"y": QuantizedConv(kernel, np.ones(1, np.float32))}
    record = QuantizedLayers({"y": codes}, convs, Quantization("full", method))
    chosen = choose_sum_factors(graph, record, {"y": observer}).convs["y"].sum_factor
    assert error(chosen) < 1.1 * min(error(factor) for factor in SUM_FACTORS)
    assert (chosen > 1) == (mean < 0)
