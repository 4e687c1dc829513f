"""Anchors: the boxes that the offsets of ``box_coding`` ``anchor`` start from.

As YOLACT lays them out (arXiv:1904.02689, section 4): one scale a level, several ratios.
"""

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract, level_shapes

VARIANCES = (0.1, 0.2)
"""Units of the offsets of centre and of size (SSD, arXiv:1512.02325, and YOLACT)."""


def anchor_boxes(contract: ModelContract) -> npt.NDArray[np.float32]:
    """All anchors of a contract whose ``box_coding`` is ``anchor``.

    Rows follow the network's outputs: level by level, cells row by row, then ratio by ratio.
    The cells of a level divide the whole input evenly, so that where a side is no multiple of
    the stride, cells are a little smaller than the stride. An anchor stands on the centre of its
    cell; scale s and ratio r give it the width ``s * sqrt(r)`` and the height ``s / sqrt(r)``.

    Returns:
        (N, 4) float32: centre x, centre y, width, height in input pixels along pixel edges.
    """
    height, width = contract.input_size
    root = np.sqrt(np.array(contract.anchor_ratios))
    levels = []
    shapes = level_shapes(contract.input_size, contract.strides)
    for (rows, columns), scale in zip(shapes, contract.anchor_scales, strict=True):
        boxes = np.empty((rows, columns, len(root), 4), dtype=np.float32)
        boxes[..., 0] = ((np.arange(columns) + 0.5) * (width / columns))[:, None]
        boxes[..., 1] = ((np.arange(rows) + 0.5) * (height / rows))[:, None, None]
        boxes[..., 2] = scale * root
        boxes[..., 3] = scale / root
        levels.append(boxes.reshape(-1, 4))
    return np.concatenate(levels)
