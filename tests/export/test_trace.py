"""From network to graph: the same layers, the same multiply-accumulates, the same answer."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn

from mobileyolact.contract import OUTPUT_NAMES, level_shapes
from mobileyolact.errors import ModelError
from mobileyolact.export import ncnn, onnx, torchscript  # noqa: F401
from mobileyolact.export.formats import EXPORTERS
from mobileyolact.export.graph import Conv, ResizeTo
from mobileyolact.export.trace import build_graph, fold, trace
from mobileyolact.model.layers import ConvNorm, leaky_relu
from mobileyolact.model.presets import PRESETS
from mobileyolact.quantize.execute import execute, stored_weights


def test_folding_costs_no_accuracy() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = ConvNorm(6, 8, 3).eval()
    with torch.no_grad():
        for tensor in (layer.norm.weight, layer.norm.running_var):
            tensor.uniform_(0.01, 3.0, generator=generator)
        for tensor in (layer.norm.bias, layer.norm.running_mean):
            tensor.normal_(0.0, 2.0, generator=generator)
    x = torch.randn(1, 6, 9, 9, generator=generator).double()
    weight, bias = fold(layer.conv, layer.norm)
    with torch.no_grad():
        exact = layer.double()(x)
        folded = nn.functional.conv2d(
            x, torch.from_numpy(weight).double(), torch.from_numpy(bias).double(), padding=1
        )
    # Only the rounding of weight and bias to float32 is left.
    assert float((folded - exact).abs().max() / exact.abs().max()) < 2e-7


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (5, 2), (7, 2)])
def test_empty_rings_of_kernels_are_left_out(kernel: int, stride: int) -> None:
    layer = ConvNorm(3, 3, kernel, stride, groups=3).eval()
    side = kernel // 2 - 1
    with torch.no_grad():
        middle = layer.conv.weight[..., side:-side, side:-side].clone()
        layer.conv.weight.zero_()[..., side:-side, side:-side] = middle
    network = Applied(layer)
    graph = trace(network, (3, 9, 10), ("y",))
    (found,) = graph.layers
    assert isinstance(found, Conv)
    assert found.weight.shape[2:] == (3, 3)
    x = torch.randn(1, 3, 9, 10, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (expected,) = network(x)
        (given,) = execute(graph, x, stored_weights(graph))
    assert graph.shapes["y"] == expected.shape[1:]
    assert torch.allclose(given, expected, rtol=0, atol=1e-6)


def test_what_is_not_padded_keeps_its_empty_rings() -> None:
    conv = nn.Conv2d(3, 3, 5)
    with torch.no_grad():
        conv.weight[..., [0, 4], :] = 0
        conv.weight[..., [0, 4]] = 0
    (found,) = trace(Applied(conv), (3, 9, 9), ("y",)).layers
    assert isinstance(found, Conv)
    assert found.weight.shape[2:] == (5, 5)


@pytest.mark.parametrize("preset", PRESETS)
def test_graph_of_a_preset(preset: str, make_network: Callable[..., Any]) -> None:
    network, contract = make_network(preset)
    macs = 0

    def count(module: Any, _: Any, output: Any) -> None:
        nonlocal macs
        macs += module.weight.numel() * output.shape[2] * output.shape[3]

    convolutions = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    hooks = [m.register_forward_hook(count) for m in convolutions.values()]
    with torch.inference_mode():
        network(torch.zeros(1, 3, *contract.input_size))
    for hook in hooks:
        hook.remove()
    graph = build_graph(network, contract)
    assert graph.macs() == macs
    found = {re.sub(r"_\d$", "", c.name) for c in graph.layers if isinstance(c, Conv)}
    # The layer that serves training alone is not called.
    assert found == {name.removesuffix(".conv") for name in convolutions} - {"semantic"}
    assert tuple((1, *graph.shapes[name]) for name in OUTPUT_NAMES) == tuple(
        output.shape for output in contract.outputs
    )


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.endswith("-320")])
def test_formats_equal_pytorch_and_each_other(
    preset: str, tmp_path: Path, make_network: Callable[..., Any], run: Any, decibels: Any
) -> None:
    network, contract = make_network(preset, size=224)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        reference = [output[0].numpy() for output in network(image).raw]
    graph = build_graph(network, contract)
    results = {}
    for name, exporter in EXPORTERS.items():
        path = exporter.files(tmp_path, "net")[0]
        exporter.write(graph, contract, path)
        results[name] = run[name](path, image[0].numpy(), OUTPUT_NAMES)
        # float16 rounding of the weights is all that differs.
        assert min(map(decibels, reference, results[name])) > 55
    first, *others = results.values()
    for other in others:
        assert min(map(decibels, first, other)) > 100


@pytest.mark.parametrize("preset", ["paper-320", "dense-320", "paper-320+symmetric"])
def test_formats_agree_where_no_stride_divides_the_input(
    preset: str, tmp_path: Path, make_network: Callable[..., Any], run: Any, decibels: Any
) -> None:
    network, contract = make_network(preset, size=150)
    assert level_shapes(contract.input_size, contract.strides)[:3] == ((19, 19), (10, 10), (5, 5))
    image = torch.randn(1, 3, 150, 150, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        reference = [output[0].numpy() for output in network(image).raw]
    graph = build_graph(network, contract)
    assert sum(isinstance(layer, ResizeTo) for layer in graph.layers) == 1
    results = []
    for name, exporter in EXPORTERS.items():
        path = exporter.files(tmp_path, "net")[0]
        exporter.write(graph, contract, path)
        results.append(run[name](path, image[0].numpy(), OUTPUT_NAMES))
        assert min(map(decibels, reference, results[-1])) > 55
    assert all(min(map(decibels, results[0], other)) > 100 for other in results[1:])


def test_weights_that_levels_share_are_stored_once_in_onnx(
    tmp_path: Path, make_network: Callable[..., Any]
) -> None:
    network, contract = make_network("dense-320", size=64)
    graph = build_graph(network, contract)
    path = tmp_path / "net.onnx"
    EXPORTERS["onnx"].write(graph, contract, path)
    shared = sum(
        getattr(network.head, name).weight.numel() for name in ("scores", "boxes", "coefficients")
    )
    held = sum(layer.weight.size for layer in graph.layers if isinstance(layer, Conv))
    assert path.stat().st_size < 2 * (held - 4 * shared) * 1.1


@pytest.mark.parametrize("preset", ["n-320", "paper-320"])
def test_tracing_leaves_the_network_as_it_was(
    preset: str, make_network: Callable[..., Any]
) -> None:
    network, contract = make_network(preset, size=64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    graph = build_graph(network, contract)
    assert graph.outputs == OUTPUT_NAMES
    assert not any("semantic" in layer.name for layer in graph.layers)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_module_that_runs_twice_gives_two_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = ConvNorm(3, 3, activation=leaky_relu)

        def forward(self, x: Any) -> Any:
            return (self.shared(self.shared(x)),)

    graph = trace(Twice(), (3, 4, 4), ("y",))
    assert [layer.name for layer in graph.layers] == ["shared", "shared_2"]
    first, second = graph.layers
    assert isinstance(first, Conv)
    assert isinstance(second, Conv)
    np.testing.assert_array_equal(first.weight, second.weight)


class Applied(nn.Module):
    """``function`` of ``module``'s output, as a network with one output."""

    def __init__(self, module: nn.Module, function: Callable[[Any], Any] = lambda x: x) -> None:
        super().__init__()
        self.part = module
        self.function = function

    def forward(self, x: Any) -> Any:
        return (self.function(self.part(x)),)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Applied(nn.SiLU()), r"do not know SiLU\(\) at 'part'"),
        (Applied(ConvNorm(3, 3, activation=nn.SiLU)), r"do not know SiLU\(\) at 'part'"),
        (Applied(nn.Conv2d(3, 3, 3, dilation=2)), r"do not know Conv2d.* at 'part'"),
        (Applied(nn.Conv2d(3, 3, 3, padding_mode="reflect")), r"do not know Conv2d.* at 'part'"),
        (Applied(nn.Conv2d(3, 3, 3, stride=(1, 2))), r"do not know Conv2d.* at 'part'"),
        (Applied(nn.Conv2d(3, 3, 3, padding="same")), r"do not know Conv2d.* at 'part'"),
        (Applied(nn.MaxPool2d(2, ceil_mode=True)), r"do not know MaxPool2d.* at 'part'"),
        (
            Applied(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
            r"do not know Upsample.* at 'part'",
        ),
        (Applied(nn.Conv2d(3, 3, 1), lambda x: x * 2), "do not know .*mul.* in network"),
        (Applied(nn.Conv2d(3, 3, 1), lambda x: x.chunk(3, 2)[0]), "split channels only"),
        (Applied(nn.Conv2d(3, 3, 1), lambda x: x.flatten(1)), "flatten from dimension 2 only"),
        (Applied(nn.Conv2d(3, 3, 1), lambda x: x.transpose(2, 3)), "swap dimensions 1 and 2"),
    ],
)
def test_what_no_writer_knows_is_refused(network: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        trace(network, (3, 8, 8), ("y",))
