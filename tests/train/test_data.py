"""Batches: a pure function of seed and iteration, with every picture's share."""

import dataclasses
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ClassInfo
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Label, Record
from mobileyolact.model.presets import get_preset
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import TrainingData, repeat_factors
from mobileyolact.train.prefetch import prefetch

PRESET = get_preset("n-320")
SQUARE = ((10.0, 10.0, 70.0, 10.0, 70.0, 50.0, 10.0, 50.0),)
CLASSES = (ClassInfo(0, "a", 1), ClassInfo(1, "b", 2), ClassInfo(2, "c", 3))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pictures")
    records = []
    for i in range(5):
        path = folder / f"{i}.png"
        noise = np.random.default_rng(i).integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(path), noise)
        index = CLASS_AGNOSTIC if i == 4 else i % 2
        labels = (
            Label(index, (10, 10, 70, 50), SQUARE),
            Label(0, (0, 0, 80, 60), SQUARE, crowd=True),
        )
        exhaustive = {3: frozenset({1}), 4: frozenset()}.get(i)
        records.append(Record(i, path, 80, 60, labels, exhaustive))
    return Dataset(CLASSES, tuple(records), Path("labels.json"))


def data(dataset: Dataset, **options: object) -> TrainingData:
    still = {"zoom": (1.0, 1.0), "aspect": 1.0, "flip": 0.0, "colour": 0.0}
    config = TrainConfig(**{"iterations": 9, "batch_size": 5, **still, **options})
    return TrainingData(dataset, PRESET, config)


def test_the_same_iteration_gives_the_same_batch(dataset: Dataset) -> None:
    options = {"zoom": (0.5, 2.0), "flip": 0.5, "colour": 0.5}
    a, b = data(dataset, **options).batch(3), data(dataset, **options).batch(3)
    assert a.names == b.names
    assert torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
    other = data(dataset, seed=1, **options).batch(3)
    assert not torch.equal(a.images, other.images)
    assert not torch.equal(a.images, data(dataset, **options).batch(4).images)


def test_processes_share_the_batch(dataset: Dataset) -> None:
    source = data(dataset, batch_size=4)
    whole = source.batch(2)
    parts = [source.batch(2, rank, 2) for rank in (0, 1)]
    assert parts[0].names == whole.names[::2] and parts[1].names == whole.names[1::2]
    assert torch.equal(parts[1].images, whole.images[1::2])


def test_every_picture_comes_once_an_epoch_where_all_are_common(dataset: Dataset) -> None:
    source = data(dataset)
    for epoch in range(3):
        drawn = Counter(source.batch(epoch).names)
        assert sorted(drawn.values()) == [1] * 5


def test_rare_classes_are_drawn_more_often() -> None:
    label_a, label_b = (Label(i, (0, 0, 1, 1), None) for i in (0, 1))
    records = tuple(
        Record(i, Path(f"{i}"), 1, 1, (label_b,) if i == 0 else (label_a,)) for i in range(100)
    )
    factors = repeat_factors(Dataset(CLASSES, records, Path("x")))
    assert factors[0] == pytest.approx(5**0.5) and set(factors[1:]) == {1.0}


def test_targets_of_a_still_picture(dataset: Dataset) -> None:
    batch = data(dataset).batch(0)
    numbers = [int(Path(name).stem) for name in batch.names]
    assert batch.images.shape == (5, 3, 320, 320)
    assert batch.image_index.tolist() == batch.crowd_image_index.tolist() == [0, 1, 2, 3, 4]
    wanted = [CLASS_AGNOSTIC if n == 4 else n % 2 for n in numbers]
    assert batch.classes.tolist() == wanted
    scale = torch.tensor([4.0, 320 / 60] * 2)
    assert torch.allclose(batch.boxes, torch.tensor([10.0, 10, 70, 50]) * scale)
    labelled = {3: [False, True, False], 4: [False] * 3}
    assert batch.labelled.tolist() == [labelled.get(n, [True] * 3) for n in numbers]
    covered = batch.masks[0].float().mean().item() / 255
    assert covered == pytest.approx(60 * 40 / (80 * 60), abs=0.01)
    assert batch.has_mask.all() and batch.crowd_classes.tolist() == [0] * 5


def test_sizes_vary_with_the_iteration_alone(dataset: Dataset) -> None:
    assert {data(dataset).input_size(i) for i in range(20)} == {(320, 320)}
    varied = data(dataset, multi_scale=0.25)
    sizes = [varied.input_size(i) for i in range(200)]
    assert {height for height, _ in sizes} == {256, 288, 320, 352, 384}  # 240 to 400
    assert all(height == width for height, width in sizes)
    assert sizes == [data(dataset, multi_scale=0.25).input_size(i) for i in range(200)]
    assert sizes != [data(dataset, multi_scale=0.25, seed=1).input_size(i) for i in range(200)]


@pytest.mark.parametrize("workers", [0, 1])
def test_whoever_makes_a_batch_makes_it_at_its_size(dataset: Dataset, workers: int) -> None:
    source = data(dataset, batch_size=4, multi_scale=0.5, copy_paste=1.0)
    batches = list(prefetch(source, range(4), 1, 2, workers))
    assert len({batch.images.shape for batch in batches}) > 1
    for iteration, batch in enumerate(batches):
        height, width = source.input_size(iteration)
        assert batch.images.shape == (2, 3, height, width)
        assert batch.masks.shape[1:] == (height // 4, width // 4)
        whole = source.batch(iteration)
        assert torch.equal(batch.images, whole.images[1::2])
        assert batch.boxes[:, 2].max() <= width and batch.boxes[:, 3].max() <= height


def test_an_input_that_ends_within_a_cell(dataset: Dataset) -> None:
    preset = dataclasses.replace(PRESET, input_size=(318, 322))
    config = TrainConfig(iterations=1, batch_size=5, zoom=(1.3, 1.3), copy_paste=1.0)
    batch = TrainingData(dataset, preset, config).batch(0)
    assert batch.images.shape[2:] == (318, 322)
    assert batch.masks.shape[1:] == (80, 81)


def test_normalisation_is_the_presets(dataset: Dataset) -> None:
    batch = data(dataset).batch(0).to("cpu")
    pixels = batch.images[0].permute(1, 2, 0).numpy() * PRESET.std + PRESET.mean
    original = cv2.imread(batch.names[0])  # BGR, as the preset says
    stretched = cv2.resize(original, (320, 320), interpolation=cv2.INTER_LINEAR)
    assert np.abs(pixels - stretched)[4:-4, 4:-4].mean() < 3
