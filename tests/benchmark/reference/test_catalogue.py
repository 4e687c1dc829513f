"""The reference networks against what is published of them, and in ncnn itself."""

from pathlib import Path

import numpy as np
import pytest

from mobileyolact.benchmark.phones import published
from mobileyolact.benchmark.reference.catalogue import REFERENCES, Reference
from mobileyolact.runtime.backends.ncnn import load_network

# Millions of multiply-accumulates: of the papers and of the projects' own pages.
PUBLISHED = {
    "squeezenet": 388,
    "mobilenet": 569,
    "mobilenet_v2": 300,
    "mnasnet": 315,
    "efficientnet_b0": 390,
    "resnet50": 3860,
    "shufflenet_v2": 146,
    "nanodet_m": 720 / 2,
    "nanodet_m-416": 1200 / 2,
    "nanodet_m-1.5x": 1440 / 2,
    "nanodet_m-1.5x-416": 2420 / 2,
    "nanodet-plus-m": 900 / 2,
    "nanodet-plus-m-416": 1520 / 2,
    "nanodet-plus-m-1.5x": 1750 / 2,
    "nanodet-plus-m-1.5x-416": 2970 / 2,
    "yolov3-tiny": 5620 / 2,
    "yolov4-tiny": 6960 / 2,
}


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.name)
def test_ncnn_runs_it_with_values_that_neither_fade_nor_grow(
    reference: Reference, tmp_path: Path
) -> None:
    import ncnn

    network = reference.build()
    if reference.name in PUBLISHED:
        assert network.macs / 1e6 == pytest.approx(PUBLISHED[reference.name], rel=0.06)
    text, weights = network.render()
    path = tmp_path / "x.param"
    path.write_text(text)
    path.with_suffix(".bin").write_bytes(weights)
    net = load_network(path, path.with_suffix(".bin"), 1)
    side = network.image.side
    values = np.random.default_rng(0).random((3, side, side), dtype=np.float32)
    with net.create_extractor() as extractor:
        extractor.input("image", ncnn.Mat(values))
        for name in net.output_names():
            code, mat = extractor.extract(name)
            assert code == 0
            output = np.array(mat)
            assert np.isfinite(output).all()
            assert 1e-5 < np.abs(output).mean() < 1e9, name


def test_there_is_one_for_every_published_time_and_none_without() -> None:
    names = [reference.name for reference in REFERENCES]
    assert len(set(names)) == len(names)
    assert {name for times in published().values() for name in times} == set(names)
    assert len({reference.family for reference in REFERENCES}) >= 9
