"""What is measured on quantized files before they are moved to where they were asked for."""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileyolact.contract import ModelContract
from mobileyolact.export.faster import faster
from mobileyolact.export.formats import EXPORTERS
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.placing import deliver, name_of, write_note
from mobileyolact.export.trace import build_graph
from mobileyolact.labels.dataset import Dataset
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.quantize.calibrate import evenly
from mobileyolact.quantize.judging import (
    Judge,
    Judgement,
    Progress,
    check_classes,
    judge_by_agreement,
    judge_by_labels,
)
from mobileyolact.quantize.timing import network_times
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

COMPARED_PICTURES = 32


@dataclass(frozen=True)
class FloatModel:
    """What a checkpoint holds: what is quantized, and the model to compare with."""

    checkpoint: Path
    stem: str
    network: MobileYolact
    graph: Graph
    contract: ModelContract
    reference: TorchBackend

    def with_network(self, network: MobileYolact, contract: ModelContract) -> "FloatModel":
        """The same model with other weights to quantize; it is compared with what it was."""
        contract = contract.at_size(self.contract.input_size)
        graph = build_graph(network, contract)
        return dataclasses.replace(self, network=network, graph=graph, contract=contract)


@dataclass(frozen=True)
class Draft:
    """Files that passed their checks, in a temporary folder; ``facts`` go into the note."""

    format: str
    files: tuple[Path, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class QuantizedArtefact:
    """One quantized model: ``files`` (first the one to open), and what was measured on it.

    ``bytes`` are those of all files but the note, ``share`` is their ratio to the weights of the
    model in float32. Times are of the network in the artefact's engine: milliseconds with one
    thread, median, of the float model and of this one.
    """

    format: str
    files: tuple[Path, ...]
    bytes: int
    share: float
    judgement: Judgement
    float_ms: float
    ms: float


def read_float_model(
    checkpoint: Path, size: tuple[int, int] | None, labels: Dataset | None
) -> FloatModel:
    """Open a checkpoint at an input ``size`` (height, width), by default its own.

    Raises:
        ModelError: not a checkpoint, a layer that is not known, or a size that does not fit.
        LabelError: ``labels`` has an object of a class that the model does not know.
    """
    network, own = load_checkpoint(checkpoint)
    contract = own.at_size(size or own.input_size)
    if labels is not None:
        check_classes(labels, contract)
    graph = build_graph(network, contract)
    stem = name_of(checkpoint, own, contract)
    reference = TorchBackend(network, contract)
    return FloatModel(checkpoint, stem, network, graph, contract, reference)


def choose_judge(
    model: FloatModel, pictures: Sequence[Path], labels: Dataset | None, progress: Progress
) -> Judge:
    """A judge by ``labels``, or else by the masks of the float model on ``pictures``."""
    if labels is not None:
        return judge_by_labels(model.reference, labels, progress)
    return judge_by_agreement(model.reference, evenly(pictures, COMPARED_PICTURES))


def measure_and_deliver(
    model: FloatModel,
    drafts: Sequence[Draft],
    out_dir: Path,
    judge: Judge,
    picture: Path,
    labels: Dataset | None,
    progress: Progress,
    more: Sequence[Path] = (),
) -> list[QuantizedArtefact]:
    """Measure files against the float model, write a note beside each, and move all of them.

    Args:
        model: what the files were made of.
        drafts: the files, in a temporary folder.
        out_dir: where they go.
        judge: of ``choose_judge``.
        picture: what times are taken on.
        labels: what the judge judges by, if it does.
        progress: told how far the work is.
        more: files of no format that go with them.
    """
    whole = _float32_bytes(model.graph)
    artefacts = []
    for done, draft in enumerate(drafts):
        if labels is None:
            progress(f"compare {draft.files[0].name}", done, len(drafts))
        judgement = judge(draft.files[0])
        float_ms, ms = _times(model, draft, picture)
        size = sum(file.stat().st_size for file in draft.files)
        note = draft.files[0].with_name(f"{_bare_name(draft)}.measured.json")
        facts = {
            "format": draft.format,
            **draft.facts,
            "share_of_float32": round(size / whole, 4),
            **_described(judgement, labels),
            "milliseconds": {"float": round(float_ms, 2), "quantized": round(ms, 2)},
        }
        write_note(note, model.checkpoint, draft.files, facts)
        files = (*draft.files, note)
        artefacts.append(
            QuantizedArtefact(draft.format, files, size, size / whole, judgement, float_ms, ms)
        )
    places = deliver([*(artefact.files for artefact in artefacts), more], out_dir)[:-1]
    return [
        dataclasses.replace(artefact, files=files)
        for artefact, files in zip(artefacts, places, strict=True)
    ]


def _times(model: FloatModel, draft: Draft, picture: Path) -> tuple[float, float]:
    """Milliseconds of the float model and of the quantized one in the engine of both."""
    exporter = EXPORTERS[draft.format]
    file = exporter.files(draft.files[0].parent, f"{model.stem}.float")[0]
    exporter.write(faster(model.graph), model.contract, file)
    tensor, _ = preprocess(open_image(picture), model.contract)
    with (
        closing(open_backend(file, None, 1)) as before,
        closing(open_backend(draft.files[0], None, 1)) as after,
    ):
        return network_times(before, after, tensor)


def _float32_bytes(graph: Graph) -> int:
    """Bytes of all weights and biases as float32; what several layers share counts once."""
    convs = [layer for layer in graph.layers if isinstance(layer, Conv)]
    arrays = {id(array): array for conv in convs for array in (conv.weight, conv.bias)}
    return sum(array.size * 4 for array in arrays.values())


def _bare_name(draft: Draft) -> str:
    """``NAME.int8.ncnn`` of ``NAME.int8.ncnn.param``."""
    head, found, _ = draft.files[0].name.rpartition(f".{draft.format}")
    return head + found


def _described(judgement: Judgement, labels: Dataset | None) -> dict[str, Any]:
    if labels is None:
        return {"agreement": judgement.to_json()}
    about = {"labels": labels.source.name, "images": len(labels.records)}
    return {"mask": {**about, **judgement.to_json()}}
