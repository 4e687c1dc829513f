"""From raw tensors to instances: what is worth decoding, boxes, suppression, masks."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract, Nms
from mobileyolact.errors import OptionError, nearest
from mobileyolact.runtime.backends.base import RawOutputs
from mobileyolact.runtime.decode import decode_boxes
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.masks import PrototypeMasks
from mobileyolact.runtime.nms import fast_nms, nms
from mobileyolact.runtime.preprocess import Placement

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

_SUPPRESSION = {"exact": nms, "fast": fast_nms}


@dataclass(frozen=True)
class PostprocessOptions:
    """What to keep. The defaults of a model are in its contract: use ``from_contract``.

    Args:
        score_threshold: lowest score of an instance, 0..1.
        nms: ``exact`` greedy suppression, or ``fast`` as in the YOLACT paper.
        nms_threshold: two boxes of a class that overlap by more are one instance, 0..1.
        mask_threshold: probability above which a pixel belongs to a mask, 0..1.
        max_detections: at most so many instances, best first.
        max_candidates: at most so many (cell, class) pairs are decoded, best first.
    """

    score_threshold: float = 0.3
    nms: Nms = "exact"
    nms_threshold: float = 0.6
    mask_threshold: float = 0.5
    max_detections: int = 100
    max_candidates: int = 1000

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_threshold", "mask_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
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
        (cell, class) pair is a candidate of its own. Boxes without area and boxes that are not
        finite are dropped. Masks are assembled when they are asked for.
    """
    cells, classes, logits = _candidates(raw.scores[0], options)
    # Nothing finite is lost: what overflows or is NaN fails the test for area below.
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = placement.boxes_to_image(decode_boxes(raw.boxes[0][cells], cells, contract))
        size = np.array([placement.image_width, placement.image_height] * 2, dtype=np.float32)
        boxes = np.clip(boxes, 0, size)
        usable = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    suppress = _SUPPRESSION[options.nms]
    kept = usable[
        suppress(
            boxes[usable],
            logits[usable],
            classes[usable],
            options.nms_threshold,
            options.max_detections,
        )
    ]
    coefficients = raw.coefficients[0][cells[kept]]
    if contract.coefficient_activation == "tanh":
        coefficients = np.tanh(coefficients)
    masks = PrototypeMasks(
        coefficients, raw.prototypes[0], contract, placement, logit(options.mask_threshold)
    )
    # The sigmoid by way of tanh does not overflow.
    scores = 0.5 * (1 + np.tanh(0.5 * logits[kept]))
    return Instances(
        boxes=boxes[kept],
        scores=scores,
        class_indices=classes[kept],
        classes=contract.classes,
        height=placement.image_height,
        width=placement.image_width,
        masks=masks,
    )


def logit(probability: float) -> float:
    """The inverse of the sigmoid, infinite at 0 and 1."""
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability / (1 - probability))


def _candidates(
    scores: FloatArray, options: PostprocessOptions
) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Cells, classes and logits of the best pairs above the threshold, best first.

    The threshold is compared as a logit: of some 300,000 scores only those that pass are
    touched again. Equal logits stay in the order of the tensor.
    """
    flat = scores.ravel()
    picked = np.flatnonzero(flat >= np.float32(logit(options.score_threshold)))
    logits = flat[picked]
    if len(picked) > options.max_candidates:
        place = len(picked) - options.max_candidates
        best = np.flatnonzero(logits >= np.partition(logits, place)[place])
        picked, logits = picked[best], logits[best]
    order = np.argsort(-logits, kind="stable")[: options.max_candidates]
    cells, classes = np.divmod(picked[order], scores.shape[1])
    return cells, classes, logits[order]
