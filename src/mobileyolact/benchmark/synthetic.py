"""Raw outputs as a network would give them for a picture with so many objects."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from mobileyolact.benchmark.placing import Grid, place_objects
from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.runtime.anchors import VARIANCES
from mobileyolact.runtime.backends.base import RawOutputs
from mobileyolact.runtime.candidates import logit
from mobileyolact.runtime.postprocess import PostprocessOptions, postprocess
from mobileyolact.runtime.preprocess import Placement

FloatArray = npt.NDArray[np.floating[Any]]

_NOTHING = -9.0  # a logit
# Scores lie so far from the threshold to 1: those of objects, and of rows that see them too.
_OWN, _ECHO = (0.4, 0.95), (0.05, 0.35)
_FILLED = 2.0  # the prototype that is the same everywhere; with the others masks get their shapes


def options_for(contract: ModelContract, count: int) -> PostprocessOptions:
    """The model's own options, but that none of ``count`` instances is one too many."""
    options = PostprocessOptions.from_contract(contract)
    return dataclasses.replace(
        options,
        max_detections=max(count, options.max_detections),
        max_candidates=max(count, options.max_candidates),
    )


def synthetic_outputs(
    contract: ModelContract,
    placement: Placement,
    options: PostprocessOptions,
    count: int,
    seed: int = 0,
) -> RawOutputs:
    """Raw outputs of which ``postprocess`` makes exactly ``count`` instances.

    Boxes have sides of 4 to 29 % of the picture's, classes take turns, and masks are round shapes.
    As with real pictures, several rows see each object, and suppression has to choose.

    Raises:
        OptionError: that cannot be had of this model.
    """
    random = np.random.default_rng(seed)
    scene = place_objects(contract, placement, options.nms_threshold, count, random)
    scores, boxes, coefficients, prototypes = (
        np.zeros(info.shape, np.float32) for info in contract.outputs
    )
    least = options.score_threshold
    shares = np.concatenate(
        [random.uniform(*_OWN, count), random.uniform(*_ECHO, len(scene.rows) - count)]
    )
    probabilities = least + (1 - least) * shares
    scores[:] = _NOTHING
    columns = scene.classes[scene.objects]
    if contract.score_activation == "softmax":
        scores[0, :, 0] = -_NOTHING
        scores[0, scene.rows, 0] = 0  # the background, against which a logit is one of two
        columns = columns + 1
    scores[0, scene.rows, columns] = [logit(p) for p in probabilities.tolist()]
    boxes[0, scene.rows] = _encode(scene.boxes[scene.objects], scene.rows, contract)
    each = random.normal(0, 1.5, (count, coefficients.shape[2]))
    each[:, :1] = 2.0
    each[:, len(prototypes[0]) :] = 0  # their position leaves the shapes round
    coefficients[0, scene.rows] = each[scene.objects]
    prototypes[0] = _waves(prototypes.shape[1:], random)
    raw = RawOutputs(scores, boxes, coefficients, prototypes)
    found = len(postprocess(raw, contract, placement, options))
    if found != count:
        raise OptionError(
            f"model '{contract.name}' would show {found} instances instead of {count} with its "
            "own thresholds; ask for another number"
        )
    return raw


def _encode(boxes: FloatArray, rows: npt.NDArray[np.intp], contract: ModelContract) -> FloatArray:
    """Boxes (S, 4) xyxy in input pixels as what decoding turns back into them."""
    grid = Grid.of(contract)
    centres, strides = grid.centres[rows], grid.strides[rows, None]
    if contract.box_coding == "anchor":
        of_centre, of_size = VARIANCES
        anchors = grid.anchors[rows]
        size = anchors[:, 2:] - anchors[:, :2]
        shift = ((boxes[:, :2] + boxes[:, 2:]) / 2 - centres) / (of_centre * size)
        stretch = np.log((boxes[:, 2:] - boxes[:, :2]) / size) / of_size
        return np.concatenate([shift, stretch], axis=1)
    distances = np.concatenate([centres - boxes[:, :2], boxes[:, 2:] - centres], axis=1) / strides
    if contract.box_coding == "ltrb":
        return distances
    # The two bins around a distance share it, so that it is their mean.
    bins = np.arange(contract.reg_max + 1)
    weights = np.maximum(1 - np.abs(distances[:, :, None] - bins), 1e-6)
    return np.asarray(np.log(weights).reshape(len(boxes), 4 * len(bins)))


def _waves(shape: tuple[int, ...], random: np.random.Generator) -> FloatArray:
    """One constant prototype and waves of a sixth of the picture and longer, (K, h, w)."""
    count, height, width = shape
    frequencies = random.uniform(-6, 6, (count, 2, 1, 1))
    phases = random.uniform(0, 2 * np.pi, (count, 1, 1))
    y, x = np.mgrid[0:height, 0:width]
    turns = frequencies[:, 0] * (y / height) + frequencies[:, 1] * (x / width)
    waves = np.cos(2 * np.pi * turns + phases)
    waves[0] = _FILLED
    return np.asarray(waves)
