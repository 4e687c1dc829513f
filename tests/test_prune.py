"""research/prune.py: what is left does what all of it did, as well as it can."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from mobileyolact.model.layers import ConvNorm
from mobileyolact.model.network import build_network
from mobileyolact.model.presets import PRESETS

RESEARCH = Path(__file__).parent.parent / "research"


@pytest.fixture(scope="module")
def prune() -> Any:
    sys.path.insert(0, str(RESEARCH))
    try:
        yield importlib.import_module("prune")
    finally:
        sys.path.remove(str(RESEARCH))
        sys.modules.pop("prune", None)


def gram(columns: Any) -> Any:
    read = torch.cat([columns, torch.ones_like(columns[..., :1, :])], -2).double()
    return read @ read.mT


def smooth(seed: int) -> Any:
    noise = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(seed))
    return functional.avg_pool2d(noise, 5, 1, 2) + 0.3


def layer(kernel: int = 1, groups: int = 1) -> Any:
    torch.manual_seed(0)
    made = ConvNorm(4, 4, kernel, groups=groups).eval()
    with torch.no_grad():
        made.norm.weight.uniform_(0.5, 2)
    return made


@torch.no_grad()
def test_the_middle_of_a_kernel_takes_over_what_its_edges_did(prune: ModuleType) -> None:
    whole, cropped, fitted = (layer(5, 4) for _ in range(3))
    kept = torch.zeros(5, 5)
    kept[1:4, 1:4] = 1
    cropped.conv.weight.mul_(kept)
    x = smooth(1)
    prune.shrink(fitted, gram(prune.windows(fitted.conv, x)))
    assert torch.equal(fitted.conv.weight != 0, kept.bool().expand(4, 1, 5, 5))
    wanted = whole(smooth(2))
    errors = [float((net(smooth(2)) - wanted).square().sum()) for net in (fitted, cropped)]
    assert errors[0] < 0.5 * errors[1]


@torch.no_grad()
def test_what_another_channel_says_already_goes_first(prune: ModuleType) -> None:
    whole, fitted = layer(), layer()
    x = torch.randn(1, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    x[:, 3] = 2 * x[:, 1] - 1
    kept = prune.thin(fitted, gram(prune.cells(fitted.conv, x)), 3)
    assert int(kept.sum()) == 3
    assert kept[0] and kept[2]
    assert not fitted.conv.weight[:, ~kept].any()
    assert torch.allclose(fitted(x), whole(x), rtol=0, atol=1e-4)


@torch.no_grad()
def test_what_is_emptied_is_0_everywhere(prune: ModuleType) -> None:
    made = layer()
    made.norm.running_mean.fill_(3)
    prune.empty(made, torch.tensor([True, False, False, True]))
    y = made(smooth(1))
    assert not y[:, [0, 3]].any()
    assert (y[:, [1, 2]] != 0).all()


def test_it_names_layers_of_the_preset(prune: ModuleType) -> None:
    network = build_network(PRESETS["n-416"], 80)
    for name in prune.KERNELS:
        assert prune.convolution(network.get_submodule(name)).kernel_size == (5, 5)
    for reader, count, writers in prune.CHANNELS:
        channels = prune.convolution(network.get_submodule(reader)).in_channels
        assert count < channels
        for writer in writers:
            made = network.get_submodule(writer)
            assert prune.convolution(made).out_channels == channels
