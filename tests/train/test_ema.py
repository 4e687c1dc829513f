import pytest

torch = pytest.importorskip("torch")

from torch import nn

from mobileyolact.train.ema import Ema


def test_weights_and_statistics_trail_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    nn.init.zeros_(network[0].weight)
    ema = Ema(network, decay=0.9)
    nn.init.ones_(network[0].weight)
    network[1].running_mean.fill_(10.0)
    network[1].num_batches_tracked.fill_(3)
    ema.update(network, updates=1000)
    assert ema.network[0].weight.item() == pytest.approx(0.1)
    assert ema.network[1].running_mean.item() == pytest.approx(1.0)
    assert ema.network[1].num_batches_tracked.item() == 3


def test_first_updates_forget_the_random_start() -> None:
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.zeros_(network.weight)
    ema = Ema(network, decay=0.999)
    nn.init.ones_(network.weight)
    for updates in range(20):
        ema.update(network, updates)
    assert ema.network.weight.item() > 0.99


def test_a_weight_that_stands_still_keeps_its_bits() -> None:
    network = nn.Conv2d(3, 8, 3)
    before = network.weight.clone()
    ema = Ema(network, decay=0.97)
    for updates in range(50):
        ema.update(network, updates)
    assert torch.equal(ema.network.weight, before)


def test_the_average_is_its_own_and_in_eval_mode() -> None:
    network = nn.Conv2d(1, 1, 1).train()
    ema = Ema(network, decay=0.9)
    assert not ema.network.training
    assert not any(p.requires_grad for p in ema.network.parameters())
    assert network.weight.requires_grad
