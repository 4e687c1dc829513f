"""Augmentation: one affine warp and one linear colour map for picture and masks together."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mobileyolact.labels.dataset import Label
from mobileyolact.train.config import TrainConfig

FILL = 114  # grey outside the picture, as letterboxing uses
SMALLEST_SIDE = 4.0  # objects with a shorter visible side, in input pixels, are dropped
SMALLEST_VISIBLE = 0.15  # objects of which less is left in view are dropped

Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Warped:
    """What is left of a label: box (4,) xyxy in input pixels, and the part of its mask in view.

    ``mask`` (h, w) uint8 at input resolution lies with its first pixel at ``corner`` (x, y). It
    covers whole prototype cells, so all four are multiples of 4 unless the input ends before.
    ``None`` where the label has no segmentation.
    """

    class_index: int
    box: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    corner: tuple[int, int] = (0, 0)

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the input that ``mask`` covers."""
        assert self.mask is not None
        (x, y), (height, width) = self.corner, self.mask.shape
        return slice(y, y + height), slice(x, x + width)

    def covered(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The covered share of each prototype cell of an input ``size``, 255 all of it.

        Its shape is (H / 4, W / 4), rounded up.
        """
        cells = np.zeros((-(-size[0] // 4), -(-size[1] // 4)), np.uint8)
        if self.mask is not None:
            mask, (height, width) = self.mask, self.mask.shape
            if height % 4 or width % 4:
                mask = np.pad(mask, ((0, -height % 4), (0, -width % 4)), "edge")
            shape = mask.shape[1] // 4, mask.shape[0] // 4
            rows, columns = (slice(s.start // 4, -(-s.stop // 4)) for s in self.region)
            cells[rows, columns] = cv2.resize(mask, shape, interpolation=cv2.INTER_AREA)
        return cells


def random_affine(
    shape: tuple[int, int], size: tuple[int, int], config: TrainConfig, random: np.random.Generator
) -> Affine:
    """A 2x3 matrix from picture to input pixels (edge coordinates).

    The picture of ``shape`` (height, width) is stretched to ``size`` as at inference, then
    zoomed, stretched, mirrored, and moved so that as much of the input is covered as can be.
    """
    zoom = math.exp(random.uniform(math.log(config.zoom[0]), math.log(config.zoom[1])))
    aspect = math.exp(random.uniform(-0.5, 0.5) * math.log(config.aspect))
    scale = np.array([zoom * aspect * size[1] / shape[1], zoom / aspect * size[0] / shape[0]])
    room = np.array([size[1], size[0]]) - scale * np.array([shape[1], shape[0]])
    shift = random.uniform(0, 1, 2) * room
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    if random.uniform() < config.flip:
        matrix[0] = [-matrix[0, 0], 0, size[1] - matrix[0, 2]]
    return matrix


def warp(
    image: NDArray[np.uint8], matrix: Affine, size: tuple[int, int], fill: int
) -> NDArray[np.uint8]:
    """``image`` (H, W) or (H, W, 3) seen through ``matrix`` at ``size`` (height, width)."""
    centred = matrix.copy()  # OpenCV places whole numbers at pixel centres, we at edges
    centred[:, 2] += 0.5 * matrix[:, :2].sum(1) - 0.5
    warped = cv2.warpAffine(
        image,
        centred,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill, fill, fill),
    )
    return np.asarray(warped, np.uint8)


def warp_label(
    label: Label, shape: tuple[int, int], matrix: Affine, size: tuple[int, int]
) -> Warped | None:
    """The label after ``matrix``, or ``None`` if too little of it is left in view."""
    corners = np.array(label.box, np.float64).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
    whole = np.concatenate([corners.min(0), corners.max(0)])
    box = np.clip(whole, 0, [size[1], size[0], size[1], size[0]])
    visible = np.prod(box[2:] - box[:2]) / max(np.prod(whole[2:] - whole[:2]), 1e-9)
    if (box[2:] - box[:2]).min() < SMALLEST_SIDE or visible < SMALLEST_VISIBLE:
        return None
    if label.segmentation is None:
        return Warped(label.class_index, box.astype(np.float32), None)
    left, top = (int(v) // 4 * 4 for v in box[:2])
    # Whole cells, as far as the input goes.
    right, bottom = (
        min(-int(-v // 4) * 4, end) for v, end in zip(box[2:], size[::-1], strict=True)
    )
    shifted = matrix - np.array([[0, 0, left], [0, 0, top]])
    whole_mask = label.mask(*shape).view(np.uint8) * np.uint8(255)
    mask = warp(whole_mask, shifted, (bottom - top, right - left), 0)
    found = Warped(label.class_index, box.astype(np.float32), mask, (left, top))
    return found if visible == 1 else fit_box(found)


def fit_box(warped: Warped) -> Warped | None:
    """The same object with the box of the mask that is left, or ``None`` if that is too small."""
    assert warped.mask is not None
    seen = warped.mask > 127
    columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    if not len(columns):
        return None
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    if (box[2:] - box[:2]).min() < SMALLEST_SIDE:
        return None
    return replace(warped, box=box + np.array(warped.corner * 2, np.float32))


# RGB to YIQ (NTSC): hue is a rotation of I and Q, saturation their length.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def random_colour(config: TrainConfig, random: np.random.Generator) -> NDArray[np.float64]:
    """A 3x4 matrix that changes brightness, contrast, saturation and hue of RGB (0..255)."""
    strength = config.colour
    brightness = random.uniform(-1, 1) * 64 * strength
    contrast = 1 + random.uniform(-1, 1) * 0.6 * strength
    saturation = 1 + random.uniform(-1, 1) * 0.8 * strength
    hue = random.uniform(-1, 1) * 0.4 * strength
    cosine, sine = saturation * math.cos(hue), saturation * math.sin(hue)
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    linear = contrast * np.linalg.inv(_YIQ) @ rotation @ _YIQ
    return np.column_stack([linear, np.full(3, 128 * (1 - contrast) + brightness)])
