"""Presets, their figures, and the rule that the entire model is depthwise separable."""

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.errors import OptionError
from mobileyolact.model.backbones import BACKBONES
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import PRESETS, get_preset
from mobileyolact.model.summary import summarise

# name: parameters, then GMACs of backbone, neck, head, prototypes
FIGURES = {
    "n-416": (1_298_756, (0.4160, 0.2239, 0.1751, 0.1530)),
    "n-320": (1_298_756, (0.2461, 0.1324, 0.1034, 0.0905)),
    "s-416": (2_299_104, (0.9637, 0.1909, 0.1751, 0.1530)),
    "s-320": (2_299_104, (0.5703, 0.1129, 0.1034, 0.0905)),
}


@pytest.mark.parametrize("name", PRESETS)
def test_figures(name: str) -> None:
    summary = summarise(get_preset(name))
    parameters, gmacs = FIGURES[name]
    assert summary.parameters == parameters
    assert tuple(summary.gmacs.values()) == pytest.approx(gmacs, abs=5e-5)
    assert list(summary.gmacs) == ["backbone", "neck", "head", "prototypes"]


@pytest.mark.parametrize("name", PRESETS)
def test_only_the_stem_is_neither_depthwise_nor_1x1(name: str) -> None:
    assert summarise(get_preset(name)).full_convolutions == ("backbone.stem.conv",)


@pytest.mark.parametrize("name", PRESETS)
def test_outputs_have_the_shapes_that_the_contract_states(name: str) -> None:
    preset = get_preset(name)
    network = build_network(preset, 3).eval()
    classes = _classes(3)
    contract = build_contract(preset, classes)
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, *preset.input_size))
    for info, output in zip(contract.outputs, outputs, strict=True):
        assert tuple(output.shape) == info.shape


def test_cells_of_nanodet_plus_at_416() -> None:
    contract = build_contract(get_preset("n-416"), _classes(3))
    assert contract.outputs[0].shape[1] == 52**2 + 26**2 + 13**2 + 7**2 == 3598


def test_the_nearest_preset_is_named() -> None:
    with pytest.raises(OptionError, match="nearest one is 'n-416'"):
        get_preset("n-417")


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_gives_four_strides_and_gradients(name: str) -> None:
    backbone = BACKBONES[name]()
    features = backbone(torch.ones(2, 3, 64, 96))
    for feature, channels, stride in zip(
        features, backbone.out_channels, (4, 8, 16, 32), strict=True
    ):
        assert feature.shape == (2, channels, 64 // stride, 96 // stride)
    sum(f.mean() for f in features).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_the_same_seed_gives_the_same_network_without_global_randomness() -> None:
    preset = get_preset("n-320")
    before = torch.random.get_rng_state()
    a, b, c = (build_network(preset, 2, seed).state_dict() for seed in (1, 1, 2))
    name = "head.levels.0.scores.weight"
    assert torch.equal(a[name], b[name]) and not torch.equal(a[name], c[name])
    assert torch.equal(before, torch.random.get_rng_state())  # nobody else's numbers were drawn


def _classes(count: int) -> list:
    from mobileyolact.contract import ClassInfo

    return [ClassInfo(i, f"class {i}", i + 1) for i in range(count)]
