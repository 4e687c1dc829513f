"""NanoDet-Plus's and MobileNetV2's published weights, loaded by name into our networks."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.model.imports import load_mobilenetv2, load_nanodet
from mobileyolact.model.network import build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.weights import read_tensors


def test_every_nanodet_weight_arrives_and_eval_mode_is_the_folded_network(shared: Path) -> None:
    weights, _ = read_tensors(shared / "weights/nanodet_plus_m_416.safetensors")
    statistics, _ = read_tensors(shared / "weights/nanodet_plus_m_416_bn.safetensors")
    network = build_network(get_preset("n-416"), 80).eval()
    load_nanodet(network, weights, statistics)
    state = network.state_dict()
    detector = sum(
        v.numel()
        for k, v in state.items()
        if k.endswith("conv.weight") or (k.endswith("weight") and v.dim() == 4)
        if not any(part in k for part in ("prototypes", "mask_tower", "coefficients"))
    )
    assert detector == sum(v.numel() for k, v in weights.items() if k.endswith("weight"))

    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    stem = network.backbone.stem
    folded = torch.nn.functional.conv2d(
        image, weights["backbone.stem.weight"], weights["backbone.stem.bias"], 2, 1
    )
    expected = torch.nn.functional.leaky_relu(folded, 0.1)
    assert torch.allclose(stem(image), expected, atol=1e-4)


def test_mobilenetv2_recognises_the_parts_that_it_is_made_of(shared: Path) -> None:
    weights, _ = read_tensors(shared / "weights/mobilenetv2_imagenet.safetensors")
    backbone = build_network(get_preset("s-416"), 80).backbone
    load_mobilenetv2(backbone, weights)
    ours = sum(v.numel() for v in backbone.state_dict().values() if v.dim() == 4)
    theirs = sum(
        v.numel()
        for k, v in weights.items()
        if v.dim() == 4 and k.startswith("features.") and not k.startswith("features.18.")
    )
    assert ours == theirs
