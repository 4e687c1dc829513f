import numpy as np

from mobileyolact.runtime.boxes import box_iou


def test_box_iou_of_overlapping_apart_and_empty_boxes():
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
    b = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(box_iou(a, b), [[1 / 3, 0, 0], [0, 0, 0]])
