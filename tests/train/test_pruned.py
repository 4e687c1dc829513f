"""What is pruned stays 0 through steps of AdamW, and all else learns."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from mobileyolact.model.layers import ConvNorm, leaky_relu
from mobileyolact.train.pruned import keep_pruned

DEAD = 2


def pruned_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        ConvNorm(3, 6, activation=leaky_relu),
        ConvNorm(6, 6, 5, groups=6, activation=leaky_relu),
        ConvNorm(6, 4),
    )
    with torch.no_grad():
        for layer in network[:2]:
            for tensor in (layer.conv.weight, layer.norm.weight, layer.norm.bias):
                tensor[DEAD] = 0
        middle = network[1].conv.weight[..., 1:4, 1:4].clone()
        network[1].conv.weight.zero_()[..., 1:4, 1:4] = middle
        network[2].conv.weight[1] = 0  # has a scale, so it is not pruned
    return network


def train(network: nn.Module) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.05)
    for seed in range(3):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        (network(x) - 1).square().mean().backward()
        optimizer.step()


def test_zeros_stay_and_the_rest_learns() -> None:
    network = pruned_network()
    before = [p.detach().clone() for p in network.parameters()]
    keep_pruned(network)
    train(network)
    for old, new in zip(before, network.parameters(), strict=True):
        assert not torch.equal(old, new)
    for layer in network[:2]:
        for tensor in (layer.conv.weight, layer.norm.weight, layer.norm.bias):
            assert not tensor[DEAD].any()
    kernel = network[1].conv.weight
    assert not kernel[..., 0, :].any() and not kernel[..., 4].any()
    assert (kernel[torch.arange(6) != DEAD][..., 1:4, 1:4] != 0).all()
    assert network[2].conv.weight[1, :DEAD].all()


def test_without_it_they_would_not() -> None:
    network = pruned_network()
    train(network)
    assert network[1].conv.weight[..., 0, :].any()
    assert network[1].norm.bias[DEAD] != 0


def test_frozen_layers_are_let_be() -> None:
    network = pruned_network().requires_grad_(False)
    keep_pruned(network)
    assert all(p._backward_hooks is None for p in network.parameters())
