"""Learning from a teacher on every picture, labelled or not: detections, masks and features."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobileyolact.model.network import MobileYolact, Outputs
from mobileyolact.train.boxes import (
    cell_centres,
    distances_to_boxes,
    expected_distances,
    paired_iou,
)
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.losses import (
    MASKS_PER_PICTURE,
    compute_losses,
    in_float32,
)
from mobileyolact.train.masks import box_coverage, placed_mask_logits
from mobileyolact.train.processes import mean_over_processes, rank_and_world
from mobileyolact.train.teacher import Teacher

TEACHER_SCORE = 0.3  # from which the teacher's masks are learnt: what predict shows by default
SAME_OBJECT = 0.5  # IoU of boxes from which a label takes the place of the teacher's mask


def taught_by(
    teacher: Teacher, student: MobileYolact
) -> Callable[[Outputs, Batch, MobileYolact, TrainConfig], dict[str, Tensor]]:
    """Losses that learn detections from ``teacher``, masks from the labels and from it.

    Where labels are few or partial, the teacher's scores and boxes on every picture hold a
    detector that the labels alone would spoil. Its masks are learnt of objects that have none in
    the labels, its features after the reduce layers where ``teacher_feature_weight`` says so.
    """
    own, theirs = KeptFeatures(student, True), KeptFeatures(teacher.network, False)

    def losses(
        outputs: Outputs, batch: Batch, network: MobileYolact, config: TrainConfig
    ) -> dict[str, Tensor]:
        outputs = in_float32(outputs)
        terms = compute_losses(
            outputs, batch, network, dataclasses.replace(config, freeze="detector")
        )
        taught = in_float32(teacher.outputs(batch.images, network.preset))
        for name, loss in detection_losses(outputs, taught).items():
            terms[name] = config.teacher_weight * loss
        if config.teacher_mask_weight:
            loss = taught_mask_loss(outputs, taught, batch, network.preset.strides)
            terms["teacher_mask"] = config.teacher_mask_weight * loss
        if config.teacher_feature_weight:
            loss = feature_loss(own.features, theirs.features)
            terms["teacher_feature"] = config.teacher_feature_weight * loss
        return terms

    return losses


def detection_losses(outputs: Outputs, taught: Outputs) -> dict[str, Tensor]:
    """Score and box terms that are least where ``outputs`` repeats ``taught``.

    Scores: quality focal loss (arXiv:2006.04388, equation 2, beta 2) with the teacher's scores as
    soft targets. Boxes: localisation distillation (arXiv:2102.12252, equation 5), the divergence
    of the side distributions, weighted by the teacher's best score, so that background teaches
    nothing.
    """
    target = taught.scores.sigmoid()
    error = (target - outputs.scores.sigmoid()).abs().square()
    loss = error * functional.binary_cross_entropy_with_logits(
        outputs.scores, target, reduction="none"
    )
    weight = target.amax(-1)
    total = mean_over_processes(weight.sum(), least=1.0)

    bins = (4, -1)
    log_probabilities = outputs.boxes.unflatten(-1, bins).log_softmax(-1)
    probabilities = taught.boxes.unflatten(-1, bins).softmax(-1)
    divergence = functional.kl_div(log_probabilities, probabilities, reduction="none")
    boxes = (divergence.sum(-1).mean(-1) * weight).sum() / total
    return {"teacher_class": loss.sum() / total, "teacher_box": boxes}


def taught_mask_loss(
    outputs: Outputs, taught: Outputs, batch: Batch, strides: tuple[int, ...]
) -> Tensor:
    """Divergence from the teacher's masks in its most certain cells; 0 where they are repeated.

    Each cell of both networks has coefficients, so its mask is compared with the teacher's of the
    same cell, pixel by pixel as two distributions (soft targets, arXiv:1503.02531, section 2; by
    pixels: arXiv:1903.04197, equation 1), inside the teacher's box and divided by its area as
    masks of labels are. Weighted by the teacher's score. Cells whose box is that of an object
    with a labelled mask are left to the label. A batch with less than one certain mask a picture
    counts less.
    """
    images, cells, weight, boxes = _certain(taught, batch, strides)
    pictures = len(outputs.prototypes) * rank_and_world()[1]
    total = mean_over_processes(weight.sum(), least=float(pictures))
    if not len(images):
        return 0.0 * (outputs.coefficients.sum() + outputs.prototypes.sum())
    input_shape = batch.images.shape[2:]
    own, theirs = (
        placed_mask_logits(o, images, cells, boxes, input_shape) for o in (outputs, taught)
    )
    target = theirs.sigmoid()
    inside = box_coverage(boxes, own.shape[1:], input_shape)
    divergence, entropy = (
        functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        for logits in (own, theirs)
    )
    masks = ((divergence - entropy) * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1e-6)
    return (masks * weight).sum() / total


@torch.no_grad()
def _certain(
    taught: Outputs, batch: Batch, strides: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, cells, best scores (P,) and boxes (P, 4) of what the teacher is certain of.

    They come image by image, at most ``MASKS_PER_PICTURE`` of each.
    """
    height, width = batch.images.shape[2:]
    centres, steps = (t.to(taught.boxes.device) for t in cell_centres((height, width), strides))
    boxes = distances_to_boxes(expected_distances(taught.boxes), centres, steps)
    boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))

    known = batch.has_mask
    overlap = paired_iou(batch.boxes[known, None], boxes[batch.image_index[known]])
    labelled = torch.zeros_like(boxes[..., 0])
    labelled.index_add_(0, batch.image_index[known], (overlap >= SAME_OBJECT).to(labelled))
    scores = taught.scores.amax(2).sigmoid() * (labelled == 0)
    best, cells = scores.topk(min(MASKS_PER_PICTURE, scores.shape[1]), 1)
    images, place = (best >= TEACHER_SCORE).nonzero(as_tuple=True)
    cells = cells[images, place]
    return images, cells, best[images, place], boxes[images, cells]


def feature_loss(own: list[Tensor], taught: list[Tensor]) -> Tensor:
    """Squared error of features, as a share of the teacher's own squares; mean over the levels.

    A hint (FitNets, arXiv:1412.6550, equation 3) without a regressor, since both necks start with
    equally wide features: what follows in a neck and a head that were the teacher's fits them.
    """
    shares = [
        (a.float() - b.float()).square().sum() / mean_over_processes(b.float().square().sum())
        for a, b in zip(own, taught, strict=True)
    ]
    return torch.stack(shares).mean()


class KeptFeatures:
    """``features``: what the reduce layers of a neck gave in the latest forward pass.

    Only passes with gradients count, or only those without: a copy of the network, such as its
    average, brings along the hooks.
    """

    def __init__(self, network: MobileYolact, gradients: bool) -> None:
        reduce = network.get_submodule("neck.reduce")
        assert isinstance(reduce, nn.ModuleList)
        self.features: list[Tensor] = [torch.empty(0)] * len(reduce)
        for level, layer in enumerate(reduce):
            layer.register_forward_hook(self._keep(level, gradients))

    def _keep(self, level: int, gradients: bool) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_: nn.Module, __: object, output: Tensor) -> None:
            if torch.is_grad_enabled() is gradients:
                self.features[level] = output

        return keep
