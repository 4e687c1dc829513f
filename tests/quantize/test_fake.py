"""What training sees is what int8 computes, and the weights feel how it changes with them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract, Quantization
from mobileyolact.errors import ModelError
from mobileyolact.export.graph import Graph
from mobileyolact.export.quantized import Codes, QuantizedLayers, quantize_kernel
from mobileyolact.export.trace import build_graph, fold, trace_origins
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.fake import FakeQuantized, fake_codes, fake_kernel, fold_live
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.scope import Scope, choose_convs

PRESETS = ("n-320", "s-320", "paper-320")
NOTHING = QuantizedLayers({}, {}, Quantization("full", "ptq"))


def images(contract: ModelContract, count: int = 1) -> Any:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *contract.input_size, generator=generator)


def record(graph: Graph, image: Any, scope: Scope) -> QuantizedLayers:
    ranges = {}

    def see(name: str, value: Any) -> Any:
        ranges[name] = tuple(float(v) for v in value.aminmax())
        return value

    with torch.inference_mode():
        execute(graph, image, stored_weights(graph), see)
    summary = Quantization(scope, "qat")
    return quantize_layers(graph, choose_convs(graph, scope), ranges, summary)


def decibels(reference: Any, candidate: Any) -> float:
    noise = (reference - candidate).double().square().sum()
    return float(10 * torch.log10(reference.double().square().sum() / noise))


@pytest.mark.parametrize("codes", [Codes(float(np.float32(0.013)), 0), Codes(0.25, -127)])
def test_values_become_their_nearest_code_and_gradients_stop_where_it_is_clipped(
    codes: Codes,
) -> None:
    generator = torch.Generator().manual_seed(0)
    ties = (torch.arange(-140, 140) + 0.5) * codes.step
    values = torch.cat([ties, 200 * codes.step * torch.randn(4000, generator=generator)])
    values.requires_grad_()
    rounded = fake_codes(values, codes)
    expected = codes.nearest(values.detach().numpy())
    assert np.array_equal(rounded.detach().numpy(), expected * np.float32(codes.step))
    (gradient,) = torch.autograd.grad(rounded, values, 3 * torch.ones_like(values))
    wanted = torch.round(values.detach() / codes.step)
    inside = (wanted >= codes.low) & (wanted <= 127)
    assert torch.equal(gradient, 3.0 * inside)
    assert 0.2 < float(inside.float().mean()) < 0.9


@pytest.mark.parametrize("limit", [127, 64])
def test_kernels_are_rounded_as_in_the_record(limit: int) -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight *= torch.logspace(-3, 2, 6)[:, None, None, None]
    weight[2] = 0
    weight.requires_grad_()
    kernel = fake_kernel(weight, limit)
    found = quantize_kernel(weight.detach().numpy(), limit)
    codes = kernel.detach().numpy() / found.steps[:, None, None, None]
    assert np.allclose(codes, found.weight, rtol=0, atol=1e-4)
    (gradient,) = torch.autograd.grad(kernel.sum(), weight)
    assert torch.equal(gradient, torch.ones_like(weight))


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_without_int8_it_is_the_network_in_evaluation(
    preset: str, pruned: bool, make_network: Callable[..., Any]
) -> None:
    network, contract = make_network(preset, size=96)
    if pruned:
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, torch.nn.Conv2d) and module.kernel_size[0] > 1:
                    module.weight[..., [0, -1], :] = 0
                    module.weight[..., [0, -1]] = 0
    image = images(contract)
    with torch.inference_mode():
        expected = network(image)
        network.train()  # batch norm stands still all the same
        statistics = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
        found = FakeQuantized(network, contract, NOTHING)(image)
    assert found.semantic is None
    for a, b in zip(expected.raw, found.raw, strict=True):
        assert decibels(a, b) > 80
    now = network.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in statistics.items())


@pytest.mark.parametrize("scope", ["backbone", "full"])
@pytest.mark.parametrize("preset", PRESETS)
def test_each_layer_computes_what_the_record_of_its_weights_says(
    preset: str, scope: Scope, make_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, contract = make_network(preset, size=64)
    graph, image = build_graph(network, contract), images(contract)
    said = record(graph, image, scope)
    expected: dict[str, Any] = {}

    def weights(layer: Any) -> tuple[Any, Any]:
        conv = said.convs.get(layer.name)
        kernel = layer.weight if conv is None else conv.values
        return torch.from_numpy(kernel), torch.from_numpy(layer.bias)

    def keep(name: str, value: Any) -> Any:
        if codes := said.tensors.get(name):
            value = torch.from_numpy(codes.nearest(value.numpy()) * np.float32(codes.step))
        expected[name] = value
        return value

    model = FakeQuantized(network, contract, said)
    touch = model._touch

    def compare(name: str, value: Any) -> Any:
        found, wanted = touch(name, value), expected[name]
        if codes := said.tensors.get(name):
            # Batch norm folded in float32 moves a few values over the edge of a code.
            assert float((found - wanted).abs().max()) < 1.01 * codes.step, name
            assert float((found - wanted).abs().mean()) < 0.01 * codes.step, name
        else:
            assert torch.allclose(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
        return wanted  # so that each layer is judged alone

    monkeypatch.setattr(model, "_touch", compare)
    with torch.inference_mode():
        execute(graph, image, weights, keep)
        model(image)
    assert said.convs and expected.keys() == graph.shapes.keys()


@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_reach_every_parameter(preset: str, make_network: Callable[..., Any]) -> None:
    network, contract = make_network(preset, size=64)
    image = images(contract, 2)
    model = FakeQuantized(network, contract, record(build_graph(network, contract), image, "full"))
    sum(output.square().mean() for output in model(image).raw).backward()
    for name, parameter in network.named_parameters():
        if name.startswith("semantic."):
            assert parameter.grad is None
        else:
            assert float(parameter.grad.abs().max()) > 0, name


def test_folding_has_the_slope_of_batch_norm(make_network: Callable[..., Any]) -> None:
    network, contract = make_network("n-320", size=64)
    _, origins = trace_origins(network, (3, *contract.input_size))
    origin = next(o for o in origins.values() if o.norm is not None)
    x = torch.randn(1, origin.conv.in_channels, 5, 5, generator=torch.Generator().manual_seed(0))
    weight, bias = fold_live(origin)
    for ours, exact in zip((weight, bias), fold(origin.conv, origin.norm), strict=True):
        assert np.allclose(ours.detach().numpy(), exact, rtol=1e-5, atol=1e-6)
    learnt = (origin.conv.weight, origin.norm.weight, origin.norm.bias)
    folded = torch.nn.functional.conv2d(x, weight, bias).square().sum()
    apart = origin.norm.eval()(torch.nn.functional.conv2d(x, origin.conv.weight)).square().sum()
    for a, b in zip(
        torch.autograd.grad(folded, learnt), torch.autograd.grad(apart, learnt), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def test_a_record_of_another_network_is_refused(make_network: Callable[..., Any]) -> None:
    network, contract = make_network("n-320", size=64)
    other = dataclasses.replace(NOTHING, tensors={"backbone.nowhere": Codes(1.0, 0)})
    with pytest.raises(ModelError, match="'backbone.nowhere' is quantized, but is not in"):
        FakeQuantized(network, contract, other)
