"""What may not grow unnoticed: calls, memory and operators, which no busy machine changes.

The bounds are a tenth above what was counted when they were written. Whoever has to raise one
says in the change why it is worth it.
"""

import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import cv2
import numpy as np
import pytest

from mobileyolact import zoo
from mobileyolact.benchmark.picture import ImageArray
from mobileyolact.benchmark.synthetic import options_for, synthetic_outputs
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.base import Backend
from mobileyolact.runtime.draw import draw
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.postprocess import postprocess
from mobileyolact.runtime.preprocess import preprocess

pytestmark = pytest.mark.slow

HD, FULL_HD = (720, 1280), (1080, 1920)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend(zoo.resolve("coco"), None, 1)


class Scene:
    """A picture of ``size`` (height, width) with so many objects, after the network."""

    def __init__(self, backend: Backend, size: tuple[int, int], count: int) -> None:
        self.contract = backend.contract
        self.image: ImageArray = (
            np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        )
        self.tensor, self.placement = preprocess(self.image, self.contract)
        self.options = options_for(self.contract, count)
        self.raw = synthetic_outputs(self.contract, self.placement, self.options, count)
        assert len(self.find()) == count

    def find(self) -> Instances:
        found = postprocess(self.raw, self.contract, self.placement, self.options)
        for i in range(len(found)):
            found.roi(i)
        return found


def calls(work: Callable[[], Any]) -> int:
    """How many functions, of Python or of C, are called."""
    counts: Counter[str] = Counter()

    def count(frame: Any, event: str, argument: Any) -> None:
        counts[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counts["call"] + counts["c_call"]


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most memory that is allocated at a time, results included."""
    work()  # what is kept for good
    tracemalloc.start()
    try:
        kept = work()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
        return peak
    finally:
        tracemalloc.stop()


def test_an_instance_more_costs_few_calls(backend: Backend) -> None:
    few, many = (calls(Scene(backend, FULL_HD, n).find) for n in (10, 100))
    assert few <= 890
    assert (many - few) / 90 <= 29


def test_an_instance_more_is_drawn_with_few_calls(backend: Backend) -> None:
    counted = []
    for count in (10, 100):
        scene = Scene(backend, FULL_HD, count)
        found = scene.find()
        draw(scene.image, found)  # labels are rendered once
        counted.append(calls(lambda scene=scene, found=found: draw(scene.image, found)))
    few, many = counted
    assert (many - few) / 90 <= 219


def test_preparing_a_picture_takes_little_more_than_its_tensor(backend: Backend) -> None:
    scene = Scene(backend, FULL_HD, 1)
    tensor = 4 * 3 * 416 * 416
    assert peak_bytes(lambda: preprocess(scene.image, scene.contract)) <= 1.65 * tensor


def test_a_hundred_masks_take_few_megabytes(backend: Backend) -> None:
    assert peak_bytes(Scene(backend, FULL_HD, 100).find) <= 2_700_000


def test_drawing_takes_little_more_than_the_picture(backend: Backend) -> None:
    scene = Scene(backend, FULL_HD, 100)
    found = scene.find()
    assert peak_bytes(lambda: draw(scene.image, found)) <= 1.6 * scene.image.nbytes


def test_the_network_moves_few_tensors_about() -> None:
    """Operations of the embedded files that only cut, join and turn."""
    onnx = pytest.importorskip("onnx")
    nodes = Counter(node.op_type for node in onnx.load(zoo.resolve("coco")).graph.node)
    assert nodes["Conv"] <= 137
    moving = {"Concat": 31, "Split": 16, "Reshape": 12, "Transpose": 3}
    assert {name: nodes[name] for name in moving if nodes[name] > moving[name]} == {}
    lines = zoo.resolve("coco", "ncnn").read_text(encoding="utf-8").splitlines()[2:]
    layers = Counter(line.split()[0] for line in lines)
    moving = {"Concat": 31, "Slice": 16, "Reshape": 12, "Permute": 3, "ShuffleChannel": 0}
    assert {name: layers[name] for name in moving if layers[name] > moving[name]} == {}


def test_the_path_around_the_network_is_short_beside_it(backend: Backend) -> None:
    """A ratio of thread times, in turn, whose bound is twice what it was: no noise is as large."""
    scene = Scene(backend, HD, 10)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    ratios = []
    try:
        for _ in range(15):
            times = [time.thread_time()]
            for step in (
                lambda: backend.run(scene.tensor),
                lambda: preprocess(scene.image, scene.contract),
                scene.find,
            ):
                step()
                times.append(time.thread_time())
            network, before, after = np.diff(times)
            ratios.append((before + after) / network)
    finally:
        cv2.setNumThreads(threads)
    assert median(ratios) <= 0.22
