"""Boxes at random places that suppression leaves alone, and further cells that see them too."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract, level_shapes
from mobileyolact.errors import OptionError
from mobileyolact.runtime.boxes import box_iou
from mobileyolact.runtime.decode import decode_boxes
from mobileyolact.runtime.preprocess import Placement

FloatArray = npt.NDArray[np.floating[Any]]
IndexArray = npt.NDArray[np.intp]

SIDES = (0.04, 0.29)
"""Shortest and longest side of a box, as shares of the picture's."""
SEEN_BY = 16
"""Rows of the outputs that see one object: the mean of the model ``coco`` on photographs."""

_TRIES = 300
_CLEAR_OF_SUPPRESSION = 0.8


@dataclass(frozen=True)
class Grid:
    """The rows of a network's outputs, (M, ...) each, in input pixels.

    ``anchors`` are xyxy; those of a row without one have no area. A row's box spreads from its
    ``centres`` by at most ``reach`` to each side, and is told in units of ``strides``.
    """

    anchors: FloatArray
    centres: FloatArray
    reach: FloatArray
    strides: FloatArray

    @classmethod
    def of(cls, contract: ModelContract) -> "Grid":
        _, count, values = contract.outputs[1].shape
        # What decoding makes of zeros lies around the centre whatever the coding.
        zeros = np.zeros((count, values), np.float32)
        around = decode_boxes(zeros, np.arange(count), contract)
        cells = [
            rows * columns for rows, columns in level_shapes(contract.input_size, contract.strides)
        ]
        per_cell = max(1, len(contract.anchor_ratios))
        strides = np.repeat(contract.strides, np.array(cells) * per_cell).astype(np.float32)
        endless = np.full(count, np.inf, np.float32)
        return cls(
            anchors=around,
            centres=(around[:, :2] + around[:, 2:]) / 2,
            reach=contract.reg_max * strides if contract.box_coding == "dfl" else endless,
            strides=strides,
        )


@dataclass(frozen=True)
class Scene:
    """Objects: ``boxes`` (N, 4) xyxy in input pixels, ``classes`` (N,).

    ``rows`` (S,) are rows of the outputs and ``objects`` (S,) what each of them sees. The first N
    are the objects' own, in their order.
    """

    boxes: FloatArray
    classes: IndexArray
    rows: IndexArray
    objects: IndexArray


def place_objects(
    contract: ModelContract,
    placement: Placement,
    overlap: float,
    count: int,
    random: np.random.Generator,
) -> Scene:
    """Place ``count`` boxes with sides of ``SIDES`` in the picture, each around a row of its own.

    Args:
        contract: which rows there are.
        placement: where the picture lies in the input.
        overlap: IoU above which boxes of a class suppress each other.
        count: of objects.
        random: where they are.

    Raises:
        OptionError: so many do not fit.
    """
    grid = Grid.of(contract)
    start = np.array([placement.offset_x, placement.offset_y])
    size = np.array([placement.image_width, placement.image_height]) * (
        placement.scale_x,
        placement.scale_y,
    )
    free = np.ones(len(grid.centres), dtype=bool)
    boxes, own = np.empty((count, 4), np.float32), np.empty(count, np.intp)
    classes = np.arange(count) % len(contract.classes)
    for i in range(count):
        of_class = boxes[:i][classes[:i] == classes[i]]
        for _ in range(_TRIES):
            half = random.uniform(*SIDES, 2) * size / 2
            inside = (grid.centres >= start + half) & (grid.centres <= start + size - half)
            rows = np.flatnonzero(free & inside.all(axis=1) & (grid.reach >= half.max()))
            if not len(rows):
                continue
            row = random.choice(rows)
            box = np.concatenate([grid.centres[row] - half, grid.centres[row] + half])
            near = box_iou(box[None].astype(np.float32), of_class)
            if not (near > _CLEAR_OF_SUPPRESSION * overlap).any():
                break
        else:
            raise OptionError(
                f"{count} instances do not fit into a picture for model '{contract.name}'; "
                "ask for fewer"
            )
        boxes[i], own[i], free[row] = box, row, False
    seen_by, objects = [own], [np.arange(count)]
    for i in range(count if overlap < _CLEAR_OF_SUPPRESSION else 0):
        echoes = _echoes(grid, boxes[i], free)
        free[echoes] = False
        seen_by.append(echoes)
        objects.append(np.full(len(echoes), i))
    return Scene(boxes, classes, np.concatenate(seen_by), np.concatenate(objects))


def _echoes(grid: Grid, box: FloatArray, free: npt.NDArray[np.bool_]) -> IndexArray:
    """The free rows inside ``box`` nearest to its centre that can tell it."""
    to_sides = np.concatenate([grid.centres - box[:2], box[2:] - grid.centres], axis=1)
    able = free & (to_sides > 0).all(axis=1) & (to_sides.max(axis=1) <= grid.reach)
    rows = np.flatnonzero(able)
    distance = np.abs(grid.centres[rows] - (box[:2] + box[2:]) / 2).sum(axis=1)
    return rows[np.argsort(distance, kind="stable")[: SEEN_BY - 1]]
