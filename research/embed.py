"""Embed a checkpoint as the zoo's `coco`: checkpoint, ONNX and ncnn, with what it reaches.

    python research/embed.py CHECKPOINT --val NAME=LABELS ... --pictures DIR

Every mask is cut at a threshold of its own. What the model reaches on every VAL goes into its
contract as provenance, and is printed as JSON.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from mobileyolact import zoo
from mobileyolact.contract import ModelContract
from mobileyolact.evaluate.evaluator import Evaluation, evaluate, evaluation_predictor
from mobileyolact.export.artefact import export_artefacts
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.weights import load_checkpoint, save_checkpoint

# What is shown by default: on the calibration pictures four of five boxes above it are right
# (precision 0.82, recall 0.31; at 0.35, the best F1, they are 0.64 and 0.42).
SCORE_THRESHOLD = 0.45
DATA_LICENCES = "see WEIGHTS.md: COCO annotations CC BY 4.0, pictures under their own terms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--val", action="append", required=True, metavar="NAME=LABELS")
    parser.add_argument("--pictures", type=Path, required=True)
    options = parser.parse_args()
    torch.set_flush_denormal(True)

    network, contract = load_checkpoint(options.checkpoint)
    contract = dataclasses.replace(contract, mask_threshold=None, score_threshold=SCORE_THRESHOLD)
    reached = {}
    for text in options.val:
        name, _, path = text.partition("=")
        reached[name] = summary(measure(network, contract, Path(path)))
    provenance = {**contract.provenance, "licence": "Apache-2.0", "data_licences": DATA_LICENCES}
    contract = dataclasses.replace(contract, provenance={**provenance, "reached": reached})

    target = zoo.list_models()[0].path("safetensors")
    save_checkpoint(target, network, contract, half=True)
    pictures = sorted(options.pictures.glob("*.jpg"))
    export_artefacts(target, target.parent, ["onnx", "ncnn"], pictures)
    print(json.dumps(reached, indent=2))


def measure(network: MobileYolact, contract: ModelContract, labels: Path) -> Evaluation:
    predictor = evaluation_predictor(TorchBackend(network, contract))
    return evaluate(predictor, read_labels(labels))


def summary(evaluation: Evaluation) -> dict:
    """Rounded figures, and those of persons alone."""
    content = evaluation.to_json()
    figures: dict = {"images": content["images"]}
    for kind in ("mask", "box"):
        names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
        figures[kind] = {name: round(content[kind][name], 4) for name in names}
        person = content[kind]["per_class"].get("person")
        if person:
            figures[kind]["person_AP50"] = round(person["AP50"], 4)
            figures[kind]["instances"] = sum(
                c["instances"] for c in content[kind]["per_class"].values()
            )
    figures["mean_matched_iou"] = round(content["mean_matched_iou"], 4)
    return figures


if __name__ == "__main__":
    main()
