"""Do two models give the same answer on the same pictures? Raw tensors and masks compared."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobileyolact.contract import OUTPUT_NAMES
from mobileyolact.errors import OptionError, ParityError
from mobileyolact.export.matching import mask_iou, match
from mobileyolact.runtime.backends.base import Backend, RawOutputs
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.postprocess import PostprocessOptions, postprocess
from mobileyolact.runtime.preprocess import preprocess

IDENTICAL_DB = 300.0  # stands for "no difference at all", so that reports stay finite

# An instance that one model puts just above the score threshold may fall just below it in the
# other; it counts as found there if its score is within this margin.
SCORE_MARGIN = 0.05


@dataclass(frozen=True)
class ParityBounds:
    """What float16-stored weights with float32 arithmetic must keep.

    ``min_snr_db`` holds for each output; rounding weights to float16 costs about 55 dB on a
    trained network, a wrong layer leaves less than 20.
    """

    min_snr_db: float = 40.0
    min_mean_mask_iou: float = 0.99
    min_matched_fraction: float = 0.98


@dataclass(frozen=True)
class OutputParity:
    """One raw output over all pictures; SNR is 10 log10(sum ref^2 / sum (ref - candidate)^2)."""

    name: str
    snr_db: float
    max_abs_diff: float


@dataclass(frozen=True)
class ParityReport:
    """How near a candidate comes to its reference.

    ``instances`` counts pairs and single ones above the score threshold in either model;
    without any, the last three are ``None``.
    """

    images: int
    outputs: tuple[OutputParity, ...]
    instances: int
    matched_fraction: float | None
    mean_mask_iou: float | None
    min_mask_iou: float | None

    def breaches(self, bounds: ParityBounds) -> list[str]:
        """One phrase for each bound that is not kept."""
        found = [
            f"{output.name} reach {output.snr_db:.1f} dB (at least {bounds.min_snr_db:.1f})"
            for output in self.outputs
            if not output.snr_db >= bounds.min_snr_db
        ]
        if self.matched_fraction is not None:
            if self.matched_fraction < bounds.min_matched_fraction:
                found.append(
                    f"{self.matched_fraction:.3f} of the instances match "
                    f"(at least {bounds.min_matched_fraction:.3f})"
                )
            if self.mean_mask_iou is None or self.mean_mask_iou < bounds.min_mean_mask_iou:
                found.append(
                    f"the mean mask IoU is {self.mean_mask_iou or 0.0:.4f} "
                    f"(at least {bounds.min_mean_mask_iou:.4f})"
                )
        return found

    def check(self, bounds: ParityBounds, candidate: str) -> None:
        """Raise ParityError that names ``candidate`` and every bound that is not kept."""
        if found := self.breaches(bounds):
            raise ParityError(
                f"{candidate} differs from its reference on {self.images} pictures: "
                + "; ".join(found)
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the fields of this class."""
        return dataclasses.asdict(self)


def compare(
    reference: Backend, candidate: Backend, images: Iterable[NDArray[np.uint8]]
) -> ParityReport:
    """Run both models on ``images``, (H, W, 3) uint8 RGB of any size, and compare.

    Each model prepares the pictures as its own contract says. Masks are compared at the
    reference's thresholds, each instance with that of its class which overlaps it most, by half
    or more, among all that the other model found before suppression: of two cells that see one
    object about equally well, rounding decides which is kept.

    Raises:
        OptionError: the models differ in input size, classes or outputs, or no picture given.
        ParityError: the candidate gives NaN or infinity.
    """
    _check_comparable(reference, candidate)
    options = PostprocessOptions.from_contract(reference.contract)
    tensors, masks = _Tensors(), _Masks(options.score_threshold)
    wide = dataclasses.replace(
        options, score_threshold=max(options.score_threshold - SCORE_MARGIN, 0.001)
    )
    count = 0
    for image in images:
        a, b = (_run(backend, image, wide) for backend in (reference, candidate))
        tensors.add(a.raw, b.raw)
        masks.add(a, b)
        count += 1
    if not count:
        raise OptionError("there are no pictures to compare the models on; give at least one")
    return ParityReport(count, tensors.outputs(), *masks.summary())


def _check_comparable(reference: Backend, candidate: Backend) -> None:
    a, b = reference.contract, candidate.contract
    if a.input_size != b.input_size:
        raise OptionError(
            f"the models read pictures of {a.input_size[1]}x{a.input_size[0]} and "
            f"{b.input_size[1]}x{b.input_size[0]} pixels; compare models of one input size"
        )
    if a.class_names != b.class_names:
        raise OptionError("the models know different classes; compare models of one checkpoint")
    if [o.shape for o in a.outputs] != [o.shape for o in b.outputs]:
        raise OptionError(
            "the models have outputs of different shapes; compare models of one checkpoint"
        )


class _Answer(NamedTuple):
    """Raw outputs, what is found in them, and that without suppression."""

    raw: RawOutputs
    kept: Instances
    every: Instances


def _run(backend: Backend, image: NDArray[np.uint8], options: PostprocessOptions) -> _Answer:
    tensor, placement = preprocess(image, backend.contract)
    raw = backend.run(tensor)
    for name, values in zip(OUTPUT_NAMES, raw, strict=True):
        if not np.isfinite(values).all():
            raise ParityError(
                f"{backend.describe()} gives NaN or infinity in the output '{name}'; "
                "the model cannot be used in this engine"
            )
    every = dataclasses.replace(options, nms_threshold=1.0, max_detections=options.max_candidates)
    kept, every_one = (
        postprocess(raw, backend.contract, placement, chosen) for chosen in (options, every)
    )
    return _Answer(raw, kept, every_one)


class _Tensors:
    """Sums of signal and error of each output over pictures, in float64."""

    def __init__(self) -> None:
        self.signal = np.zeros(len(OUTPUT_NAMES))
        self.noise = np.zeros(len(OUTPUT_NAMES))
        self.largest = np.zeros(len(OUTPUT_NAMES))

    def add(self, reference: RawOutputs, candidate: RawOutputs) -> None:
        for i, (a, b) in enumerate(zip(reference, candidate, strict=True)):
            difference = a.astype(np.float64) - b
            self.signal[i] += np.square(a, dtype=np.float64).sum()
            self.noise[i] += np.square(difference).sum()
            self.largest[i] = max(self.largest[i], np.abs(difference).max())

    def outputs(self) -> tuple[OutputParity, ...]:
        return tuple(
            OutputParity(name, _decibels(s, n), float(d))
            for name, s, n, d in zip(
                OUTPUT_NAMES, self.signal, self.noise, self.largest, strict=True
            )
        )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return IDENTICAL_DB
    return 10.0 * math.log10(max(signal, 1e-30) / noise)


class _Masks:
    """Counts matched instances over pictures and keeps the mask IoU of each pair."""

    def __init__(self, score_threshold: float) -> None:
        self.threshold = score_threshold
        self.alone = 0
        self.ious: list[float] = []

    def add(self, reference: _Answer, candidate: _Answer) -> None:
        kept, others = reference.kept, candidate.every
        matched = match(kept, others)
        for i, j in matched.pairs:
            if max(kept.scores[i], others.scores[j]) >= self.threshold:
                self.ious.append(mask_iou(kept, i, others, j))
        self.alone += sum(kept.scores[i] >= self.threshold for i in matched.alone_a)
        new = match(candidate.kept, reference.every).alone_a
        self.alone += sum(candidate.kept.scores[j] >= self.threshold for j in new)

    def summary(self) -> tuple[int, float | None, float | None, float | None]:
        """``instances``, ``matched_fraction``, ``mean_mask_iou`` and ``min_mask_iou``."""
        count = len(self.ious) + int(self.alone)
        if not count:
            return 0, None, None, None
        if not self.ious:
            return count, 0.0, None, None
        return count, len(self.ious) / count, float(np.mean(self.ious)), min(self.ious)
