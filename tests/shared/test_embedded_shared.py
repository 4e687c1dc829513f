"""What trained models reach on real val2017 pictures, in every engine."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("pycocotools")

from mobileyolact import zoo
from mobileyolact.cli.opening import open_backend_for
from mobileyolact.evaluate.evaluator import Evaluation, evaluate, evaluation_predictor
from mobileyolact.labels.formats import read_labels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs PyTorch"),
]


PAPER = Path(__file__).parents[2] / "research/checkpoints/paper-320.safetensors"


def evaluated(model: str | Path, labels: Path, backend: str | None = None) -> Evaluation:
    opened = open_backend_for(str(model), backend, None)
    with evaluation_predictor(opened) as predictor:
        return evaluate(predictor, read_labels(labels))


def test_every_artefact_reaches_what_the_checkpoint_does(shared: Path) -> None:
    labels = shared / "data/coco-mini/val.json"
    checkpoint = evaluated(zoo.resolve("coco", "safetensors"), labels).to_json()
    for backend, bound in (("onnxruntime", 0.002), ("ncnn", 0.006)):
        found = evaluated("coco", labels, backend).to_json()
        assert found["images"] == 240
        for kind in ("mask", "box"):
            assert found[kind]["AP"] == pytest.approx(checkpoint[kind]["AP"], abs=bound)
    assert checkpoint["box"]["AP"] == pytest.approx(0.311, abs=0.003)
    assert checkpoint["mask"]["AP"] >= 0.214
    assert checkpoint["mask"]["AP50"] >= 0.411
    assert checkpoint["mean_matched_iou"] >= 0.70


def test_int8_loses_next_to_nothing(shared: Path) -> None:
    found = evaluated("coco-int8", shared / "data/coco-mini/val.json").to_json()["mask"]
    assert found["AP"] >= 0.212
    assert found["AP50"] >= 0.406


def test_the_papers_network_is_the_same_in_every_engine(shared: Path, tmp_path: Path) -> None:
    from mobileyolact.export.artefact import export_artefacts

    # Persons, since of all 80 classes it has learnt little from the few pictures there are.
    labels = shared / "data/coco-mini/val_person.json"
    pictures = [record.path for record in read_labels(labels).records[:16]]
    bounds = {"onnx": 0.002, "torchscript": 0.002, "ncnn": 0.006}
    checkpoint = evaluated(PAPER, labels).to_json()["mask"]["AP"]
    assert checkpoint >= 0.09
    for artefact in export_artefacts(PAPER, tmp_path, tuple(bounds), pictures):
        found = evaluated(artefact.files[0], labels).to_json()["mask"]["AP"]
        assert found == pytest.approx(checkpoint, abs=bounds[artefact.format])


def test_persons(shared: Path) -> None:
    found = evaluated("coco", shared / "data/coco-mini/val_person.json").to_json()
    mask, box = (found[kind]["per_class"]["person"]["AP50"] for kind in ("mask", "box"))
    assert mask >= 0.85 * box
