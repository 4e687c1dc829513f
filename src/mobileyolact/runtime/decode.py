"""The network's box numbers as boxes in input pixels."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract, level_shapes
from mobileyolact.runtime.anchors import VARIANCES, anchor_boxes

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]


def decode_boxes(values: FloatArray, cells: IndexArray, contract: ModelContract) -> FloatArray:
    """Decode the boxes of some cells.

    Args:
        values: (M, 4 * (reg_max + 1)) bin logits, side by side for left, top, right, bottom, or
            (M, 4) distances, or (M, 4) offsets from the anchors, as ``contract.box_coding`` says.
            A distance of ``dfl`` is the expectation over its bins 0..reg_max (Generalized Focal
            Loss, arXiv:2006.04388).
        cells: (M,) row of each box among the rows of the outputs.
        contract: strides, box coding, centre offset or anchors, and input size.

    Returns:
        (M, 4) float32 xyxy in input pixels along pixel edges, not clipped.
    """
    if contract.box_coding == "anchor":
        return decode_anchors(values, anchor_boxes(contract)[cells])
    centre_x, centre_y, stride = _cells(
        contract.input_size, contract.strides, contract.centre_offset
    ).take(cells, axis=1)
    if contract.box_coding == "dfl":
        values = _expectation(values.reshape(len(values), 4, contract.reg_max + 1))
    left, top, right, bottom = (values * stride[:, None]).T
    boxes = [centre_x - left, centre_y - top, centre_x + right, centre_y + bottom]
    return np.stack(boxes, axis=1).astype(np.float32)


@lru_cache(maxsize=8)
def _cells(
    input_size: tuple[int, int], strides: tuple[int, ...], centre_offset: float
) -> FloatArray:
    """Centre x, centre y and stride of every cell (3, N), in input pixels."""
    levels = []
    for (rows, columns), stride in zip(level_shapes(input_size, strides), strides, strict=True):
        y, x = np.indices((rows, columns), dtype=np.float32).reshape(2, -1) + centre_offset
        levels.append(np.stack([x * stride, y * stride, np.full_like(x, stride)]))
    cells = np.concatenate(levels, axis=1).astype(np.float32)
    cells.flags.writeable = False
    return cells


def decode_anchors(offsets: FloatArray, anchors: FloatArray) -> FloatArray:
    """Move and stretch anchors by offsets in units of ``VARIANCES``, as SSD does.

    Args:
        offsets: (M, 4) of centre x, centre y, width and height.
        anchors: (M, 4) centre x, centre y, width, height in pixels.

    Returns:
        (M, 4) float32 xyxy in pixels.
    """
    of_centre, of_size = VARIANCES
    centre = anchors[:, :2] + of_centre * offsets[:, :2] * anchors[:, 2:]
    half = 0.5 * anchors[:, 2:] * np.exp(of_size * offsets[:, 2:])
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _expectation(logits: FloatArray) -> FloatArray:
    """The mean bin index under the softmax over the last axis."""
    count = logits.shape[-1]
    # Bins first: numpy reduces a short last axis one number at a time.
    weights = np.ascontiguousarray(logits.reshape(-1, count).T)
    weights -= weights.max(axis=0)
    np.exp(weights, out=weights)
    means = np.arange(count, dtype=np.float32) @ weights / weights.sum(axis=0)
    return np.asarray(means.reshape(logits.shape[:-1]))
