"""Embed a checkpoint as the zoo's `coco`: checkpoint, ONNX and ncnn, with what it reaches.

    python research/embed.py CHECKPOINT --val NAME=LABELS ... --pictures DIR
    python research/embed.py NAME.int8.onnx

The second embeds what `mobileyolact quantize` wrote of `research/checkpoints/coco-pruned` as
`coco-int8`, with the figures of the `.measured.json` beside it.

Every mask is cut at a threshold of its own. What the model reaches on every VAL goes into its
contract as provenance, and is printed as JSON.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import onnx
import torch

from mobileyolact import zoo
from mobileyolact.contract import CONTRACT_KEY, ModelContract
from mobileyolact.evaluate.evaluator import Evaluation, evaluate, evaluation_predictor
from mobileyolact.export.artefact import export_artefacts
from mobileyolact.files import write_beside
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.weights import load_checkpoint, read_checkpoint, save_checkpoint

# What is shown by default: on the calibration pictures four of five boxes above it are right
# (precision 0.82, recall 0.31; at 0.35, the best F1, they are 0.64 and 0.42).
SCORE_THRESHOLD = 0.45
PRUNED = Path(__file__).parent / "checkpoints" / "coco-pruned.safetensors"
DATA_LICENCES = "see WEIGHTS.md: COCO annotations CC BY 4.0, pictures under their own terms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--val", action="append", default=[], metavar="NAME=LABELS")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    if options.model.suffix == ".onnx":
        return embed_int8(options.model)
    if not options.val or options.pictures is None:
        parser.error("a checkpoint needs --val and --pictures")
    torch.set_flush_denormal(True)

    network, contract = load_checkpoint(options.model)
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


def embed_int8(source: Path) -> None:
    """Where it comes from is what its checkpoint says; what it reaches was measured on it."""
    model = onnx.load(source)
    contract = ModelContract.from_json(
        {entry.key: entry.value for entry in model.metadata_props}[CONTRACT_KEY]
    )
    whole, pruned = (
        read_checkpoint(path)[1].provenance
        for path in (zoo.list_models()[0].path("safetensors"), PRUNED)
    )
    licences = {name: whole[name] for name in ("licence", "data_licences")}
    measured = json.loads(source.with_suffix(".onnx.measured.json").read_text("utf-8"))
    figures = {name: round(measured["mask"][name]["quantized"], 4) for name in ("AP", "AP50")}
    reached = {"val": {"images": measured["mask"]["images"], "mask": figures}}
    contract = dataclasses.replace(contract, provenance={**pruned, **licences, "reached": reached})
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json()})
    target = zoo.list_models()[1].path("onnx")
    target.parent.mkdir(exist_ok=True)
    with write_beside(target) as beside:
        beside.write_bytes(model.SerializeToString(deterministic=True))
    print(target, target.stat().st_size, json.dumps(contract.provenance, indent=1))


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
