"""Training for int8: what is learnt, from what, what counts, and that it goes on where it was."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ClassInfo, ModelContract, Quantization
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.evaluate.evaluator import evaluate, evaluation_predictor
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.export.trace import build_graph
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Label, Record
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.weights import load_checkpoint, save_checkpoint
from mobileyolact.quantize.calibrate import observe, ranges_of
from mobileyolact.quantize.fake import FakeQuantized
from mobileyolact.quantize.ptq import quantize_layers
from mobileyolact.quantize.qat import of_classes, qat_config, run_qat
from mobileyolact.quantize.scope import choose_convs
from mobileyolact.stopping import TrainingStopped
from mobileyolact.train.data import TrainingData
from mobileyolact.train.loop import TrainResult

Model = tuple[Any, ModelContract]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def calibrated(model: Model, pictures: list[Path]) -> QuantizedLayers:
    graph = build_graph(*model)
    convs = choose_convs(graph, "full")
    ranges = ranges_of(graph, convs, observe(graph, model[1], pictures), "absmax")
    return quantize_layers(graph, convs, ranges, Quantization("full", "qat"))


@pytest.fixture
def record(checkpoint: Path, pictures: list[Path]) -> QuantizedLayers:
    return calibrated(load_checkpoint(checkpoint), pictures)


def run(
    checkpoint: Path, record: QuantizedLayers, labels: Path, folder: Path, **options: Any
) -> tuple[TrainResult, list[str]]:
    said: list[str] = []
    result = run_qat(
        str(checkpoint),
        record,
        [labels],
        folder,
        val=options.pop("val", None),
        unlabelled=options.pop("unlabelled", ()),
        options={"iterations": 4, "batch_size": 2, "workers": 0, **options},
        say=said.append,
    )
    return result, said


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_it_comes_closer_to_the_float_network(
    checkpoint: Path, record: QuantizedLayers, labels: Path, tmp_path: Path
) -> None:
    teacher, contract = load_checkpoint(checkpoint)
    folder = tmp_path / "run"
    # Of this network rounding alone changes little, but codes that reach less far do.
    short = {n: dataclasses.replace(c, step=0.25 * c.step) for n, c in record.tensors.items()}
    record = dataclasses.replace(record, tensors=short)
    result, said = run(checkpoint, record, labels, folder, iterations=8, rate_new=3e-4)
    assert f"model: n-320, full in int8, {len(record.convs)} of 137 convolutions" in said
    assert "teacher: n-320, of its detections (1), masks (1)" in said
    log = log_of(folder)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert all(line["mask_bce"] == 0 for line in log), "no label is taught"
    learnt, made = load_checkpoint(result.best)
    assert (made.classes, made.quantization) == (contract.classes, None)
    assert made.provenance["int8"] == "full" and made.provenance["start"] == "tiny.safetensors"
    before, after = teacher.state_dict(), learnt.state_dict()
    statistics = [name for name in before if "running" in name or "tracked" in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)


def test_going_on_equals_the_uninterrupted_run_bit_for_bit(
    checkpoint: Path,
    record: QuantizedLayers,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(checkpoint, record, labels, tmp_path / "whole")
    make = TrainingData.batch

    def stop(self: TrainingData, iteration: int, rank: int = 0, world: int = 1) -> Any:
        if iteration == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return make(self, iteration, rank, world)

    with monkeypatch.context() as patch, pytest.raises(TrainingStopped, match="iteration 2 of 4"):
        patch.setattr(TrainingData, "batch", stop)
        run(checkpoint, record, labels, tmp_path / "halves")
    run(checkpoint, record, labels, tmp_path / "halves")
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halves" / name).read_bytes()
    other = dataclasses.replace(record, summary=Quantization("backbone", "qat"))
    with pytest.raises(OptionError, match=r"a run with int8 \w+, but this command says \w+"):
        run(checkpoint, other, labels, tmp_path / "halves")


def test_what_counts_is_the_int8_network(
    checkpoint: Path, record: QuantizedLayers, labels: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools")
    result, said = run(checkpoint, record, labels, tmp_path / "run", val=labels, iterations=1)
    network, contract = load_checkpoint(result.best)
    scores = []
    for judged in (FakeQuantized(network, contract, record), network):
        with evaluation_predictor(TorchBackend(judged, contract)) as predictor:
            scores.append(evaluate(predictor, read_labels(labels)).mask.AP)
    assert result.score == scores[0] != scores[1]
    assert said[-2].startswith(f"{labels}: mask AP {scores[0]:.3f}")


def test_a_network_with_anchors_learns_from_labels_alone(
    make_network: Callable[..., Any], pictures: list[Path], labels: Path, tmp_path: Path
) -> None:
    model = make_network("paper-320", size=64)
    before = {name: value.clone() for name, value in model[0].state_dict().items()}
    record = calibrated(model, pictures)
    checkpoint = tmp_path / "paper.safetensors"
    save_checkpoint(checkpoint, *model)
    result, said = run(checkpoint, record, labels, tmp_path / "run", iterations=2)
    assert not any(line.startswith("teacher") for line in said)
    assert set(log_of(tmp_path / "run")[0]) == {
        "iteration", "loss", "class", "box", "mask", "rate", "images_per_second",
    }  # fmt: skip
    after = load_checkpoint(result.best)[0].state_dict()
    rests = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert rests.isdisjoint({"head.scores.weight", "backbone.stem.norm.weight"})
    assert {"semantic.weight", "semantic.bias"} <= rests
    with pytest.raises(OptionError, match="paper-320 cannot be its own teacher"):
        run(checkpoint, record, labels, tmp_path / "more", unlabelled=[pictures[0].parent])


def test_length_and_rates_follow_from_the_pictures() -> None:
    assert [qat_config(n, {}).iterations for n in (2, 400, 100_000)] == [200, 250, 1000]
    config = qat_config(345, {"rate_new": 5e-5, "batch_size": 4})
    assert (config.rate_started, config.rate_new, config.batch_size) == (5e-5, 5e-5, 4)
    assert config.frozen_batch_norm
    with pytest.raises(OptionError, match="needs multi_scale 0.0, not 0.25; leave it out"):
        qat_config(345, {"multi_scale": 0.25})
    with pytest.raises(OptionError, match="unknown training option 'iteration'"):
        qat_config(345, {"iteration": 3})


def test_labels_get_the_classes_of_the_model(
    make_contract: Callable[..., ModelContract], tmp_path: Path
) -> None:
    contract = make_contract()  # person, dog, bicycle

    def dataset(exhaustive: frozenset[int] | None, *indices: int) -> Dataset:
        labels = tuple(Label(index, (0, 0, 1, 1), None) for index in indices)
        classes = (ClassInfo(0, "Bicycle", 3), ClassInfo(1, "cat", 5), ClassInfo(2, "person", 9))
        picture = Record(1, tmp_path / "1.png", 8, 8, labels, exhaustive)
        return Dataset(classes, (picture,), tmp_path / "labels.json")

    found = of_classes(dataset(None, 2, 0, CLASS_AGNOSTIC), contract)
    (picture,) = found.records
    assert found.classes == contract.classes
    assert [label.class_index for label in picture.labels] == [0, 2, CLASS_AGNOSTIC]
    assert picture.exhaustive == {0, 2}  # nothing is known of dogs
    assert of_classes(dataset(frozenset({1, 2})), contract).records[0].exhaustive == {0}
    with pytest.raises(LabelError, match=r"labels.json has objects of the class 'cat', which"):
        of_classes(dataset(None, 1), contract)
