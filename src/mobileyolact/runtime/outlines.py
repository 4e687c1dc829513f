"""Outlines of bitmaps."""

import cv2
import numpy as np

from mobileyolact.runtime.masks import Roi

Polygon = list[float]


def outline(roi: Roi) -> list[Polygon]:
    """The outer outlines of a mask as flat lists x, y, x, y, ... in picture pixels.

    Vertices lie on the corners of pixels, so that a single pixel is a square of area 1. Where
    the outline turns inwards, the corner is cut by half a pixel. Holes are filled.
    """
    rows, columns = roi.bitmap.shape
    # A grid with the pixels at odd places and their corners at even ones. Grown by one step,
    # a pixel reaches its corners, and the contour of the grid runs through them.
    grid = np.zeros((2 * rows + 1, 2 * columns + 1), dtype=np.uint8)
    grid[1::2, 1::2] = roi.bitmap
    grid = cv2.dilate(grid, np.ones((3, 3), dtype=np.uint8))
    contours, _ = cv2.findContours(grid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour.reshape(-1, 2) / 2 + (roi.x, roi.y)).ravel().tolist() for contour in contours]
