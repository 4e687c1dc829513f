import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mobileyolact.runtime.nms import fast_nms, nms

BOX = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2)
ENTRY = st.tuples(BOX, st.integers(0, 9), st.integers(0, 2))
THRESHOLD = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


def unzip(entries):
    boxes = np.float32([[x, y, x + w, y + h] for (x, y, w, h), _, _ in entries]).reshape(-1, 4)
    scores = np.float32([score for _, score, _ in entries])
    classes = np.array([label for _, _, label in entries], dtype=np.intp)
    return boxes, scores, classes


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def in_order(scores):
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


@given(st.lists(ENTRY, max_size=300), THRESHOLD, st.one_of(st.none(), st.integers(0, 20)))
def test_exact_nms_is_the_greedy_algorithm(entries, threshold, limit):
    boxes, scores, classes = unzip(entries)
    kept: list[int] = []
    for i in in_order(scores):
        rivals = [k for k in kept if classes[k] == classes[i]]
        if all(overlap(boxes[i].tolist(), boxes[k].tolist()) <= threshold for k in rivals):
            kept.append(i)
    assert nms(boxes, scores, classes, threshold, limit).tolist() == kept[:limit]


@given(st.lists(ENTRY, max_size=60), THRESHOLD)
def test_fast_nms_lets_dropped_boxes_suppress(entries, threshold):
    boxes, scores, classes = unzip(entries)
    order = in_order(scores)
    kept = [
        i
        for place, i in enumerate(order)
        if all(
            classes[i] != classes[j] or overlap(boxes[i].tolist(), boxes[j].tolist()) <= threshold
            for j in order[:place]
        )
    ]
    assert fast_nms(boxes, scores, classes, threshold).tolist() == kept


def test_a_chain_of_boxes_shows_the_difference():
    boxes = np.float32([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    scores, classes = np.float32([0.9, 0.8, 0.7]), np.zeros(3, dtype=np.intp)
    assert nms(boxes, scores, classes, 0.5).tolist() == [0, 2]
    assert fast_nms(boxes, scores, classes, 0.5).tolist() == [0]
    assert fast_nms(boxes, scores, np.arange(3), 0.5, 2).tolist() == [0, 1]


def test_more_candidates_than_one_block():
    random = np.random.default_rng(0)
    corner = random.integers(0, 60, (1000, 2))
    boxes = np.hstack([corner, corner + random.integers(5, 30, (1000, 2))]).astype(np.float32)
    scores, classes = random.random(1000), random.integers(0, 3, 1000)
    everything = nms(boxes, scores, classes, 0.3)
    assert len(everything) > 128
    for place, i in enumerate(everything):
        rivals = [k for k in everything[:place] if classes[k] == classes[i]]
        assert all(overlap(boxes[i].tolist(), boxes[k].tolist()) <= 0.3 for k in rivals)
    assert nms(boxes, scores, classes, 0.3, 130).tolist() == everything[:130].tolist()


def test_fast_nms_takes_200_boxes_of_a_class():
    boxes = np.float32([[20 * i, 0, 20 * i + 10, 10] for i in range(250)])
    scores, classes = np.linspace(1, 0, 250), np.zeros(250, dtype=np.intp)
    assert fast_nms(boxes, scores, classes, 0.5).tolist() == list(range(200))
