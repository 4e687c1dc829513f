"""The imported detector, measured through our own runtime on real pictures."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pycocotools")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mobileyolact.evaluate.average_precision import Summary
from mobileyolact.evaluate.evaluator import Evaluation, evaluate, evaluation_predictor
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.imports import load_nanodet
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.weights import read_tensors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation(shared: Path) -> Evaluation:
    """NanoDet-Plus with a random mask branch on 240 pictures of COCO val2017."""
    dataset = read_labels(shared / "data/coco-mini/val.json")
    preset = get_preset("n-416")
    network = build_network(preset, len(dataset.classes)).eval()
    weights = (f"weights/nanodet_plus_m_416{name}.safetensors" for name in ("", "_bn"))
    load_nanodet(network, *(read_tensors(shared / path)[0] for path in weights))
    contract = build_contract(preset, dataset.classes)
    with evaluation_predictor(TorchBackend(network, contract)) as predictor:
        return evaluate(predictor, dataset)


def test_the_box_ap_of_the_published_detector(evaluation: Evaluation) -> None:
    assert pytest.approx(0.311, abs=0.003) == evaluation.box.AP
    assert pytest.approx(0.463, abs=0.003) == evaluation.box.AP50


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_equals_pycocotools_on_the_file_itself(
    kind: str, evaluation: Evaluation, shared: Path
) -> None:
    """Real polygons, run lengths and crowds."""
    results: list[dict[str, Any]] = []
    for record, found in zip(evaluation.dataset.records, evaluation.detections, strict=True):
        for i, index in enumerate(found.class_indices):
            x1, y1, x2, y2 = found.boxes[i].tolist()
            row = {
                "image_id": record.id,
                "category_id": evaluation.dataset.classes[index].original_id,
                "score": float(found.scores[i]),
            }
            if kind == "mask":
                results.append({**row, "segmentation": dict(found.masks[i])})
            else:
                results.append({**row, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(shared / "data/coco-mini/val.json"))
        run = COCOeval(truth, truth.loadRes(results), "segm" if kind == "mask" else "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    ours: Summary = getattr(evaluation, kind)
    figures = [ours.AP, ours.AP50, ours.AP75, ours.APs, ours.APm, ours.APl]
    assert figures == pytest.approx(run.stats[:6].tolist(), abs=1e-6)
