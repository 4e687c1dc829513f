"""All of YOLACT's losses together: weights, activations, who teaches what, gradients, processes."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor
from yolact_scenes import batch, only

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.model.network import Outputs, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.yolact_losses import compute_losses

CONFIG = TrainConfig(iterations=1)
LN2, LN4 = math.log(2), math.log(4)


def fitting(scene: Batch, size: int = 320) -> Batch:
    """The same objects five times as large, on a picture of 320 x 320."""
    generator = torch.Generator().manual_seed(0)
    return dataclasses.replace(
        scene,
        images=torch.rand(len(scene.images), 3, size, size, generator=generator),
        boxes=scene.boxes * 5,
        masks=scene.masks.repeat_interleave(5, 1).repeat_interleave(5, 2),
        crowd_masks=torch.zeros(0, 80, 80, dtype=torch.uint8),
    )


def outputs(scene: Batch, anchors: int = 6402) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    pictures = len(scene.images)
    shapes = ((anchors, 4), (anchors, 4), (anchors, 32), (32, 80, 80), (3, 40, 40))
    drawn = (torch.randn(pictures, *shape, generator=generator) for shape in shapes)
    return Outputs(*(o.requires_grad_() for o in drawn))


PAPER: Any = SimpleNamespace(preset=get_preset("paper-320"))


def test_the_published_weights() -> None:
    scene = fitting(batch([1]))
    raw = Outputs(*(torch.zeros_like(o) for o in outputs(scene)))
    losses = compute_losses(raw, scene, PAPER, CONFIG)
    assert losses["class"].item() == pytest.approx(4 * LN4, rel=1e-4)
    assert losses["mask"].item() == pytest.approx(6.125 * LN2)
    assert losses["semantic"].item() == pytest.approx(3 * LN2, rel=1e-5)
    assert losses["box"].item() > 0


def test_sides_that_are_no_multiple_of_the_strides() -> None:
    scene = batch([1])
    scene.images = torch.zeros(1, 3, 550, 550)
    scene.boxes[0] = torch.tensor([302.0, 302, 550, 550])
    scene.masks = torch.zeros(1, 138, 138, dtype=torch.uint8)
    scene.masks[0, 76:, 76:] = 255
    scene.crowd_masks = torch.zeros(0, 138, 138, dtype=torch.uint8)
    prototypes = torch.zeros(1, 1, 138, 138)
    prototypes[0, 0, 76:, 76:] = 50.0
    semantic = torch.full((1, 3, 69, 69), -50.0)
    semantic[0, 1, 38:, 38:] = 50.0
    anchors = 19_248
    raw = Outputs(
        torch.zeros(1, anchors, 4),
        torch.zeros(1, anchors, 4),
        torch.full((1, anchors, 1), 50.0),
        prototypes,
        semantic,
    )
    network: Any = SimpleNamespace(preset=get_preset("paper-550"))
    losses = compute_losses(raw, scene, network, CONFIG)
    assert losses["semantic"].item() == pytest.approx(0, abs=1e-6)
    # The box reaches from cell 75.5 to 137.5; only in cell 75 is the logit 0, not sure and right.
    expected = 6.125 * LN2 * (62**2 - 61.5**2) / 62**2
    assert losses["mask"].item() == pytest.approx(expected, rel=1e-4)


def test_coefficients_are_squashed_and_prototypes_rectified() -> None:
    scene = fitting(batch([1]))
    raw = outputs(scene)._replace(prototypes=torch.full((1, 32, 80, 80), -1.0))
    assert compute_losses(raw, scene, PAPER, CONFIG)["mask"].item() == pytest.approx(6.125 * LN2)
    coefficients = torch.zeros(1, 6402, 32)
    coefficients[..., 0] = 100.0
    raw = raw._replace(coefficients=coefficients, prototypes=torch.ones(1, 32, 80, 80))
    # Logit 1 everywhere in a box whose mask covers its left half.
    expected = 6.125 * (math.log(1 + math.e) - 0.5)
    assert compute_losses(raw, scene, PAPER, CONFIG)["mask"].item() == pytest.approx(expected)


def test_objects_without_class_teach_masks_alone() -> None:
    scene = fitting(batch([CLASS_AGNOSTIC], labelled=only()))
    raw = outputs(scene)
    losses = compute_losses(raw, scene, PAPER, CONFIG)
    assert losses["class"].item() == losses["box"].item() == losses["semantic"].item() == 0
    assert losses["mask"].item() > 0
    # Beside labelled classes, the anchors that show it are no background.
    scene = fitting(batch([CLASS_AGNOSTIC]))
    compute_losses(raw, scene, PAPER, CONFIG)["class"].backward()
    taught = raw.scores.grad[0].any(1)
    masked = torch.autograd.grad(
        compute_losses(raw, scene, PAPER, CONFIG)["mask"], raw.coefficients
    )[0][0].any(1)
    assert taught.sum() == 3 and masked.any() and not (taught & masked).any()


def test_a_frozen_detector_learns_masks_alone() -> None:
    scene = fitting(batch([1]))
    frozen = dataclasses.replace(CONFIG, freeze="detector")
    raw = outputs(scene)._replace(semantic=None)
    assert list(compute_losses(raw, scene, PAPER, frozen)) == ["mask"]


def test_without_semantic_logits_the_other_terms_remain() -> None:
    scene = fitting(batch([1]))
    raw = outputs(scene)
    whole = compute_losses(raw, scene, PAPER, CONFIG)
    rest = compute_losses(raw._replace(semantic=None), scene, PAPER, CONFIG)
    assert rest == {name: loss for name, loss in whole.items() if name != "semantic"}


def test_half_precision_outputs_are_taken_as_floats() -> None:
    scene = fitting(batch([1]))
    raw = Outputs(*(o.bfloat16() for o in outputs(scene)))
    for loss in compute_losses(raw, scene, PAPER, CONFIG).values():
        assert loss.dtype == torch.float32 and torch.isfinite(loss)


def picture(scene: Batch, number: int) -> Batch:
    """One picture of a scene, as a batch: what one of several processes gets."""
    own = scene.image_index == number
    return dataclasses.replace(
        scene,
        images=scene.images[number : number + 1],
        labelled=scene.labelled[number : number + 1],
        image_index=scene.image_index[own] * 0,
        **{name: getattr(scene, name)[own] for name in ("boxes", "classes", "masks", "has_mask")},
    )


@pytest.mark.parametrize("index", [[0, 0, 1], [0, 0, 0], []])
def test_the_mean_over_processes_is_the_loss_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, index: list[int]
) -> None:
    scene = fitting(batch([1, CLASS_AGNOSTIC, 0][: len(index)], index, pictures=2))
    scene.boxes[1:] *= 0.7
    raw = outputs(scene)
    whole = compute_losses(raw, scene, PAPER, CONFIG)
    pictures = [picture(scene, number) for number in (0, 1)]
    parts = [Outputs(*(o[number : number + 1] for o in raw)) for number in (0, 1)]
    counts: list[list[float]] = [[], []]

    def losses_of(number: int) -> dict[str, Tensor]:
        return compute_losses(parts[number], pictures[number], PAPER, CONFIG)

    for number in (0, 1):
        monkeypatch.setattr(
            "mobileyolact.train.yolact_losses.mean_over_processes",
            lambda value, least, number=number: counts[number].append(value.item()) or value,
        )
        losses_of(number)
    shares = []
    for number in (0, 1):
        sums = iter([a + b for a, b in zip(*counts, strict=True)])
        monkeypatch.setattr(
            "mobileyolact.train.yolact_losses.mean_over_processes",
            lambda value, least, sums=sums: max(next(sums), least) / 2,
        )
        shares.append(losses_of(number))
    for name, value in whole.items():
        found = (shares[0][name] + shares[1][name]) / 2
        assert found.item() == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize("classes", [[], [1], [CLASS_AGNOSTIC]])
def test_every_term_has_a_gradient_path_even_without_objects(classes: list[int]) -> None:
    network = build_network(get_preset("paper-320"), 3)
    scene = fitting(batch(classes, pictures=2))
    losses = compute_losses(network(scene.images), scene, network, CONFIG)
    assert set(losses) == {"class", "box", "mask", "semantic"}
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
