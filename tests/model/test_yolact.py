"""The paper's network: anchors, levels of any size, weights that levels share."""

import itertools

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ClassInfo, level_shapes
from mobileyolact.model.layers import ConvNorm
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.runtime.anchors import anchor_boxes


def _classes(count: int) -> list[ClassInfo]:
    return [ClassInfo(i, f"class {i}", i + 1) for i in range(count)]


def test_anchors_of_yolact_at_550() -> None:
    # Published: P3 to P7 have 69, 35, 18, 9 and 5 cells a side, 19,248 anchors in all.
    preset = get_preset("paper-550")
    contract = build_contract(preset, _classes(80))
    assert [rows for rows, _ in level_shapes((550, 550), preset.strides)] == [69, 35, 18, 9, 5]
    assert contract.anchor_scales == (24, 48, 96, 192, 384)
    assert contract.outputs[0].shape == (1, 19_248, 81)
    assert contract.outputs[3].shape == (1, 32, 138, 138)
    half = build_contract(get_preset("paper-320"), _classes(80))
    assert half.anchor_scales[0] == pytest.approx(24 * 320 / 550)
    # At another size a network still sees the pixels that it was trained on.
    assert half.at_size((416, 416)).anchor_scales == half.anchor_scales


def test_the_network_agrees_with_the_rows_of_the_anchors() -> None:
    """What is painted at one place changes the rows of the anchors around it most."""
    preset = get_preset("paper-320")
    network = build_network(preset, 2).eval()
    anchors = anchor_boxes(build_contract(preset, _classes(2)))
    image = torch.zeros(1, 3, 320, 320)
    with torch.no_grad():
        network.head.boxes.weight.mul_(100)
        before = network(image).boxes[0]
        image[..., 64:72, 240:248] = 3.0
        change = (network(image).boxes[0] - before).abs().sum(1)
    level = slice(0, 3 * 40 * 40)
    x, y = anchors[level][int(change[level].argmax())][:2]
    assert abs(x - 244) <= 24
    assert abs(y - 68) <= 24


def test_anchors_of_a_cell_are_channels_that_follow_each_other() -> None:
    preset = get_preset("paper-320")
    network = build_network(preset, 2).eval()
    with torch.no_grad():
        network.head.scores.weight.zero_()
        network.head.scores.bias.copy_(torch.arange(9.0))
        scores = network(torch.zeros(1, 3, 64, 64)).scores[0]
    assert scores.reshape(-1, 9).eq(torch.arange(9.0)).all()
    assert scores[1].tolist() == [3, 4, 5]  # background and two classes of the second anchor
    assert preset.score_rows(2, 1) == (2, 5, 8)
    assert preset.score_rows(2, None) == (0, 3, 6)
    assert get_preset("s-320").score_rows(2, 1) == (1,)
    assert get_preset("s-320").score_rows(2, None) == ()


def test_semantic_scores_are_for_training_alone() -> None:
    network = build_network(get_preset("paper-320"), 5)
    image = torch.zeros(2, 3, 150, 150)
    assert network.train()(image).semantic.shape == (2, 5, 19, 19)
    assert network.eval()(image).semantic is None


def test_every_level_has_batch_norms_of_its_own_and_one_convolution() -> None:
    network = build_network(get_preset("paper-320"), 5).train()
    network(torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0)))
    (layer,) = network.head.score_tower
    means = [norm.running_mean for norm in layer.norms]
    assert len(means) == 5
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(means, 2))
    assert network.head.scores.weight.shape == (3 * 6, 96, 1, 1)


@pytest.mark.parametrize("size", [64, 75, 150])
def test_padding_of_tensorflow(size: int) -> None:
    """SAME at stride 2 gives ceil(n / 2), and its padding before is the smaller half."""
    layer = ConvNorm(1, 1, 3, 2, same=True).eval()
    with torch.no_grad():
        layer.conv.weight.fill_(0)
        layer.conv.weight[0, 0, 0, 0] = 1  # the first tap: what lies before the centre
        x = torch.arange(float(size * size)).reshape(1, 1, size, size) + 1
        y = layer(x)[0, 0]
    assert y.shape == ((size + 1) // 2,) * 2
    # On an even side nothing is padded before it, on an odd one a zero.
    assert y[0, 0] == pytest.approx(0 if size % 2 else 1, abs=1e-3)
