"""Learning a teacher's detections on every picture, labelled or not."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mobileyolact import zoo
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import OptionError
from mobileyolact.model.network import MobileYolact, Outputs
from mobileyolact.model.presets import Preset
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.losses import compute_losses


def taught_by(
    name: str, classes: Sequence[ClassInfo]
) -> Callable[[Outputs, Batch, MobileYolact, TrainConfig], dict[str, Tensor]]:
    """Losses that learn detections from a teacher and masks from the labels.

    Where labels are few or partial, the teacher's scores and boxes on every picture hold a
    detector that the labels alone would spoil.

    Args:
        name: ``coco`` or a checkpoint's path.
        classes: the classes that are trained; the teacher's must be the same, in this order.

    Raises:
        ModelError: the checkpoint cannot be read.
        OptionError: its classes are others.
    """
    path = zoo.resolve(name, "safetensors")
    teacher, contract = load_checkpoint(path)
    if [c.name for c in contract.classes] != [c.name for c in classes]:
        raise OptionError(
            f"the teacher {path} knows other classes than the labels; "
            "train without --teacher, or teach with a model of the same classes"
        )

    def losses(
        outputs: Outputs, batch: Batch, network: MobileYolact, config: TrainConfig
    ) -> dict[str, Tensor]:
        masks_alone = dataclasses.replace(config, freeze="detector")
        terms = compute_losses(outputs, batch, network, masks_alone)
        taught = teacher_outputs(teacher.to(batch.images.device), batch.images, network.preset)
        learnt = distillation_losses(outputs, taught)
        return {**terms, **{name: config.teacher_weight * loss for name, loss in learnt.items()}}

    return losses


def teacher_outputs(teacher: MobileYolact, images: Tensor, preset: Preset) -> Outputs:
    """Raw outputs of ``teacher`` on ``images`` (B, 3, H, W) normalised as ``preset`` says."""
    theirs = teacher.preset
    if (theirs.mean, theirs.std) != (preset.mean, preset.std):
        pixels = images * _channel(preset.std, images) + _channel(preset.mean, images)
        if theirs.colour_order != preset.colour_order:
            pixels = pixels.flip(1)
        images = (pixels - _channel(theirs.mean, images)) / _channel(theirs.std, images)
    with torch.no_grad():
        outputs: Outputs = teacher(images)
    return outputs


def _channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def distillation_losses(outputs: Outputs, taught: Outputs) -> dict[str, Tensor]:
    """Score and box terms that are least where ``outputs`` repeats ``taught``.

    Scores: quality focal loss with the teacher's scores as soft targets. Boxes: localisation
    distillation (arXiv:2102.12252, equation 5), the divergence of the side distributions,
    weighted by the teacher's best score, so that background teaches nothing.
    """
    target = taught.scores.float().sigmoid()
    scores = outputs.scores.float()
    error = (target - scores.sigmoid()).abs().square()
    loss = error * functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    weight = target.amax(-1)
    total = weight.sum().clamp(min=1.0)

    bins = (4, -1)
    log_probabilities = outputs.boxes.float().unflatten(-1, bins).log_softmax(-1)
    probabilities = taught.boxes.float().unflatten(-1, bins).softmax(-1)
    divergence = functional.kl_div(log_probabilities, probabilities, reduction="none")
    boxes = (divergence.sum(-1).mean(-1) * weight).sum() / total
    return {"teacher_class": loss.sum() / total, "teacher_box": boxes}
