"""Measuring for estimates, with few networks and one round."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mobileyolact import zoo
from mobileyolact.benchmark import projecting
from mobileyolact.benchmark.phones import DEVICES, Table, published
from mobileyolact.benchmark.projecting import Network, run_projection
from mobileyolact.errors import OptionError


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks of as many families as a full table needs, and a short one of two."""
    small = "squeezenet mobilenet_v2 mobilenet_v3 mnasnet nanodet_m shufflenet_v2 yolo-fastest-1.1"
    names = set(small.split())
    kept = {t: {n: ms for n, ms in of.items() if n in names} for t, of in published().items()}
    kept[Table("short", 4)] = {"nanodet_m": 9.0, "squeezenet": 4.0}
    references = tuple(r for r in projecting.REFERENCES if r.name in names)
    monkeypatch.setattr(projecting, "REFERENCES", references)
    monkeypatch.setattr(projecting, "published", lambda: kept)


def test_models_are_measured_beside_the_references(few: None) -> None:
    before = dict(os.environ)
    seen = []
    coco = Network.of("coco", zoo.resolve("coco", "ncnn"))
    assert coco.size == (416, 416)
    result = run_projection([coco], 2, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2)]
    assert dict(os.environ) == before
    assert list(result.estimates) == ["coco"]
    assert len(result.hosts) == 8
    assert len(result.estimates["coco"]) == len(DEVICES)
    times = {name: host.ms for name, host in result.hosts.items()}
    assert 0 < times["shufflenet_v2"] < times["coco"]
    assert 20 < result.hosts["coco"].values < 200


def test_integers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ncnn.param"
    layer = "Convolution conv 1 1 in0 out0 0=4 1=1 5=0 6=12"
    path.write_text(f"7767517\n2 2\nInput in0 0 1 in0 0=4 1=4 2=3\n{layer} 8=0\n")
    assert Network.of("x", path).size is None
    path.write_text(path.read_text().replace("8=0", "8=2"))
    with pytest.raises(OptionError, match="'x' computes in int8"):
        Network.of("x", path)


def test_the_size_of_files_that_leave_it_open(foreign_ncnn: Callable[..., Path]) -> None:
    path = foreign_ncnn("")
    assert Network.of("other", path, (64, 32)).size == (64, 32)
    network = Network.of("other", path)
    with pytest.raises(OptionError, match="no fixed size"):
        run_projection([network], 1)
