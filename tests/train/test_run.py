import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from drawn import draw_pictures

from mobileyolact.errors import LabelError, OptionError
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.train.run import run_training


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("drawn"))


def run(labels: Path, folder: Path, val: Path | None = None, **options: Any) -> list[str]:
    said: list[str] = []
    run_training(
        [labels],
        folder,
        val=val,
        preset=options.pop("preset", "n-320"),
        init=options.pop("init", "none"),
        teacher=options.pop("teacher", None),
        options={"batch_size": 2, "workers": 0, **options},
        say=said.append,
    )
    return said


def test_a_few_iterations_fit_four_pictures(labels: Path, tmp_path: Path) -> None:
    said = run(labels, tmp_path, iterations=24, batch_size=4, rate_new=3e-3, zoom=(1.0, 1.0))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "box", "mask_bce"):
        values = [line[name] for line in lines]
        assert sum(values[-4:]) < 0.9 * sum(values[:4]), name
    assert said[0] == "data: 4 pictures with 8 labels of 2 classes (disc, square)"
    assert said[-1] == f"best weights: {tmp_path / 'best.safetensors'}"
    network, contract = load_checkpoint(tmp_path / "best.safetensors")
    assert contract.class_names == ("disc", "square")
    assert [c.original_id for c in contract.classes] == [7, 9]
    assert contract.provenance["data"] == ["labels.json"]
    assert network(torch.zeros(1, 3, 320, 320)).scores.shape[2] == 2


def test_validation_says_what_the_best_weights_reach(labels: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    said = run(labels, tmp_path, val=labels, iterations=2)
    assert "validation: 4 pictures with 8 labels" in said
    assert said[-2].startswith(f"{labels}: mask AP ")
    assert said[-2].endswith("on 4 pictures")


def test_the_plan_names_classes_and_layers(labels: Path, tmp_path: Path) -> None:
    run(labels, tmp_path / "first", iterations=1)
    text = labels.read_text().replace('"square"', '"box"')
    renamed = labels.with_name("renamed.json")
    renamed.write_text(text)
    start = str(tmp_path / "first/best.safetensors")
    said = run(renamed, tmp_path / "second", init=start, iterations=1)
    assert f"start: {start}, which knows disc" in said
    assert "new classes: box" in said
    (partly,) = [line for line in said if line.startswith("partly loaded: ")]
    assert "head.levels.0.scores" in partly


def test_other_data_in_a_used_folder_is_named(labels: Path, tmp_path: Path) -> None:
    run(labels, tmp_path / "run", iterations=1)
    other = draw_pictures(tmp_path / "other", seed=1)
    with pytest.raises(OptionError, match=r"a run with data labels\.json#\w+, but this command"):
        run(other, tmp_path / "run", iterations=1)


def test_validation_labels_of_other_classes_are_refused_at_once(
    labels: Path, tmp_path: Path
) -> None:
    text = labels.read_text().replace('"square"', '"box"').replace('"disc"', '"ball"')
    other = labels.with_name("other.json")
    other.write_text(text)
    with pytest.raises(LabelError, match=r"other\.json has no class of the training labels"):
        run(labels, tmp_path / "run", val=other, iterations=1)
    assert not (tmp_path / "run").exists()


def test_a_student_of_another_family_learns_from_pictures_alone(
    labels: Path, tmp_path: Path
) -> None:
    run(labels, tmp_path / "teacher", iterations=1)
    master = str(tmp_path / "teacher/best.safetensors")
    said: list[str] = []
    run_training(
        [],
        tmp_path / "run",
        preset="s-320",
        init=master,
        teacher=master,
        unlabelled=[labels.parent],
        options={"iterations": 2, "batch_size": 2, "workers": 0},
        say=said.append,
    )
    assert said[0] == "data: no labels, but a teacher of 2 classes (disc, square)"
    assert said[1] == "without labels: 4 pictures"
    assert "teacher: n-320, of its detections (1), masks (1), features (1)" in said
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert all(line["mask_bce"] == 0 and line["teacher_feature"] > 0 for line in lines)
    _, contract = load_checkpoint(tmp_path / "run/best.safetensors")
    assert contract.class_names == ("disc", "square")
    assert contract.provenance["teacher"] == "best.safetensors"


def test_a_teacher_with_the_same_backbone_holds_detections_not_features(
    labels: Path, tmp_path: Path
) -> None:
    run(labels, tmp_path / "teacher", iterations=1)
    master = str(tmp_path / "teacher/best.safetensors")
    said = run(labels, tmp_path / "run", iterations=1, teacher=master, teacher_mask_weight=0.0)
    assert "teacher: n-320, of its detections (1)" in said
    (line,) = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {name for name in line if "teacher" in name} == {"teacher_class", "teacher_box"}


def test_anchors_want_one_size(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="paper-320 has anchors for one input size"):
        run(labels, tmp_path, preset="paper-320", iterations=1, multi_scale=0.25)


def test_tensorboard_gets_pictures_of_the_run(labels: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(labels, tmp_path, val=labels, iterations=2, validate_every=1)
    board = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0})
    board.Reload()
    steps = {tag: [e.step for e in board.Images(tag)] for tag in board.Tags()["images"]}
    assert steps == {"augmented": [1], "predictions": [1, 2]}
