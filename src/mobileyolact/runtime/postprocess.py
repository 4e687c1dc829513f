"""From raw tensors to instances: what is worth decoding, boxes, suppression, masks."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract, Nms
from mobileyolact.errors import OptionError, nearest
from mobileyolact.runtime.backends.base import RawOutputs
from mobileyolact.runtime.candidates import (
    Candidates,
    logit,
    sigmoid,
    sigmoid_candidates,
    softmax_candidates,
)
from mobileyolact.runtime.decode import decode_boxes
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.masks import PrototypeMasks
from mobileyolact.runtime.nms import fast_nms, nms
from mobileyolact.runtime.preprocess import Placement

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

_FIRST = 300  # candidates: nearly always enough for a hundred instances

_SUPPRESSION = {"exact": nms, "fast": fast_nms}
# By score_activation: how pairs are found, and what makes a score of their rank.
_SCORES: dict[str, tuple[Callable[..., Candidates], Callable[[FloatArray], FloatArray]]] = {
    "sigmoid": (sigmoid_candidates, sigmoid),
    "softmax": (softmax_candidates, np.exp),
}


@dataclass(frozen=True)
class PostprocessOptions:
    """What to keep. The defaults of a model are in its contract: use ``from_contract``.

    Args:
        score_threshold: lowest score of an instance, 0..1.
        nms: ``exact`` greedy suppression, or ``fast`` as in the YOLACT paper.
        nms_threshold: two boxes of a class that overlap by more are one instance, 0..1.
        mask_threshold: probability above which a pixel belongs to a mask, 0..1; ``None`` chooses
            one for each mask, see
            ``thresholds.dice_thresholds``.
        max_detections: at most so many instances, best first.
        max_candidates: at most so many (cell, class) pairs are decoded, best first.
    """

    score_threshold: float = 0.3
    nms: Nms = "exact"
    nms_threshold: float = 0.6
    mask_threshold: float | None = None
    max_detections: int = 100
    max_candidates: int = 1000

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_threshold", "mask_threshold"):
            value = getattr(self, name)
            if value is None and name == "mask_threshold":
                continue
            if not 0 <= value <= 1:
                raise OptionError(f"{name} must be from 0 to 1, got {value}")
        for name in ("max_detections", "max_candidates"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.nms not in get_args(Nms):
            raise OptionError(f"nms must be 'exact' or 'fast', got {self.nms!r}")

    @classmethod
    def from_contract(cls, contract: ModelContract, **overrides: Any) -> "PostprocessOptions":
        """The model's own defaults, with some of them replaced; a value of None replaces nothing.

        Raises:
            OptionError: an unknown name, which is answered with the nearest one, or a bad value.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in overrides:
            if name not in names:
                raise OptionError(f"there is no option '{name}'{nearest(name, names)}")
        values = {name: getattr(contract, name) for name in names if hasattr(contract, name)}
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)


def postprocess(
    raw: RawOutputs, contract: ModelContract, placement: Placement, options: PostprocessOptions
) -> Instances:
    """Decode the network's outputs for one picture.

    Args:
        raw: shapes as in ``RawOutputs``.
        contract: how to read them.
        placement: where the picture lies in the input, from ``preprocess``.
        options: thresholds and limits.

    Returns:
        Instances with boxes in picture pixels, clipped to the picture, best score first. Every
        pair of a cell (or anchor) and a class is a candidate of its own. Boxes without area and
        boxes that are not finite are dropped. Masks are assembled when they are asked for.
    """
    find, as_score = _SCORES[contract.score_activation]
    # The best decide among themselves; the others are asked if too few of these are kept.
    first = min(max(_FIRST, 3 * options.max_detections), options.max_candidates)
    for limit in sorted({first, options.max_candidates}):
        rows, classes, ranks = find(raw.scores[0], options.score_threshold, limit)
        boxes = _boxes(raw.boxes[0], rows, contract, placement)
        usable = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        kept = usable[
            _SUPPRESSION[options.nms](
                boxes[usable],
                ranks[usable],
                classes[usable],
                options.nms_threshold,
                options.max_detections,
            )
        ]
        if len(rows) < limit or len(kept) == options.max_detections:
            break
    coefficients = raw.coefficients[0].take(rows[kept], axis=0)
    if contract.coefficient_activation == "tanh":
        of_prototypes = coefficients[:, : len(raw.prototypes[0])]
        np.tanh(of_prototypes, out=of_prototypes)
    threshold = None if options.mask_threshold is None else logit(options.mask_threshold)
    masks = PrototypeMasks(
        boxes[kept], coefficients, raw.prototypes[0], contract, placement, threshold
    )
    return Instances(
        boxes=boxes[kept],
        scores=as_score(ranks[kept]),
        class_indices=classes[kept],
        classes=contract.classes,
        height=placement.image_height,
        width=placement.image_width,
        masks=masks,
    )


def _boxes(
    values: FloatArray, rows: IndexArray, contract: ModelContract, placement: Placement
) -> FloatArray:
    """Boxes of rows in picture pixels, clipped to the picture."""
    # Nothing finite is lost: what overflows or is NaN fails the test for area.
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = placement.boxes_to_image(decode_boxes(values.take(rows, axis=0), rows, contract))
        size = np.array([placement.image_width, placement.image_height] * 2, dtype=np.float32)
        return np.minimum(np.maximum(boxes, 0), size)
