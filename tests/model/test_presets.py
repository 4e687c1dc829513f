"""Presets, their figures, and the rule that the entire model is depthwise separable."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.errors import OptionError
from mobileyolact.model.backbones import BACKBONES
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import PRESETS, get_preset
from mobileyolact.model.summary import summarise
from mobileyolact.model.weights import load_checkpoint, save_checkpoint

# name: parameters, then GMACs of backbone, neck, head, prototypes
FIGURES = {
    "n-416": (1_301_860, (0.4160, 0.2239, 0.1779, 0.1530)),
    "n-320": (1_301_860, (0.2461, 0.1324, 0.1051, 0.0905)),
    "s-416": (2_302_208, (0.9637, 0.1909, 0.1779, 0.1530)),
    "s-320": (2_302_208, (0.5703, 0.1129, 0.1051, 0.0905)),
    "paper-550": (1_973_471, (1.7450, 0.1005, 0.2975, 0.1613)),
    "paper-320": (1_973_471, (0.5703, 0.0332, 0.0989, 0.0542)),
    "dense-320": (2_994_143, (0.5703, 0.1887, 0.8242, 0.9486)),
}
VARIANT_FIGURES = {
    "paper-320+dense": (2_752_991, (0.5703, 0.1887, 0.8242, 0.3375)),
    "paper-320+full-prototypes": (2_004_095, (0.5703, 0.0332, 0.0989, 0.1326)),
    "paper-320+dense+full-prototypes": FIGURES["dense-320"],
    "n-416+relu": FIGURES["n-416"],
    "s-320+symmetric": FIGURES["s-320"],
    "paper-320+symmetric": FIGURES["paper-320"],
}


@pytest.mark.parametrize("name", [*PRESETS, *VARIANT_FIGURES])
def test_figures(name: str) -> None:
    summary = summarise(get_preset(name))
    parameters, gmacs = (FIGURES | VARIANT_FIGURES)[name]
    assert summary.parameters == parameters
    assert tuple(summary.gmacs.values()) == pytest.approx(gmacs, abs=5e-5)
    assert list(summary.gmacs) == ["backbone", "neck", "head", "prototypes"]


@pytest.mark.parametrize("name", [*PRESETS, *VARIANT_FIGURES])
def test_only_the_stem_is_neither_depthwise_nor_1x1(name: str) -> None:
    full = summarise(get_preset(name)).full_convolutions
    if "dense" not in name:
        assert full == ("backbone.stem.conv",)
        return
    # YOLACT's: three after the laterals, two for P6 and P7, the head's four, the prototypes'.
    prototypes = 2 if name == "paper-320+dense" else 4
    parts = [part.split(".")[0] for part in full]
    assert parts == ["backbone"] + ["neck"] * 5 + ["head"] * 4 + ["prototypes"] * prototypes


def test_what_serves_training_alone_is_not_counted() -> None:
    network = build_network(get_preset("paper-320"), 80)
    semantic = sum(p.numel() for p in network.semantic.parameters())
    assert semantic == 80 * 96 + 80
    total = sum(p.numel() for p in network.parameters())
    assert summarise(get_preset("paper-320")).parameters == total - semantic


@pytest.mark.parametrize("name", PRESETS)
def test_outputs_have_the_shapes_that_the_contract_states(name: str) -> None:
    preset = get_preset(name)
    network = build_network(preset, 3).eval()
    classes = _classes(3)
    contract = build_contract(preset, classes)
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, *preset.input_size))
    for info, output in zip(contract.outputs, outputs.raw, strict=True):
        assert tuple(output.shape) == info.shape
    assert outputs.semantic is None


def test_cells_of_nanodet_plus_at_416() -> None:
    contract = build_contract(get_preset("n-416"), _classes(3))
    assert contract.outputs[0].shape[1] == 52**2 + 26**2 + 13**2 + 7**2 == 3598


def test_variants_change_one_thing_and_have_one_name() -> None:
    plain, dense = get_preset("paper-320"), get_preset("paper-320+dense")
    assert dense == replace(plain, name="paper-320+dense", separable=False)
    both = get_preset("paper-320+full-prototypes+dense")
    assert both == get_preset("paper-320+dense+full-prototypes")
    assert both == replace(get_preset("dense-320"), name="paper-320+dense+full-prototypes")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paper-321", "no preset 'paper-321'; the nearest one is 'paper-320'"),
        ("paper-320+dens", "no variant 'dens'; the nearest one is 'dense' of dense, full-proto"),
        ("s-320+dense", "preset s-320 has no variant 'dense'; .* of symmetric"),
        ("n-320+symmetric", "n-320 has no variant 'symmetric'; .* of relu"),
        ("s-320+", "no variant ''"),
    ],
)
def test_what_is_no_preset_or_variant(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        get_preset(name)


@pytest.mark.parametrize(("name", "kind"), [("n-320", "LeakyReLU"), ("n-320+relu", "ReLU")])
def test_one_activation_everywhere(name: str, kind: str) -> None:
    kinds = {type(m).__name__ for m in build_network(get_preset(name), 2).modules()}
    assert {x for x in kinds if "ReLU" in x} == {kind}


def test_variants_are_built_again_from_their_checkpoint(tmp_path: Path) -> None:
    preset = get_preset("paper-320+full-prototypes+symmetric")
    network = build_network(preset, 2).eval()
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, network, build_contract(preset, _classes(2)))
    again, contract = load_checkpoint(path)
    assert again.preset == preset
    assert contract.nms == "fast"
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(network(image).raw, again(image).raw, strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


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
