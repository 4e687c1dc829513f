"""Pictures for TensorBoard show what the tensors hold."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from drawn import draw_pictures

from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import TrainingData
from mobileyolact.train.pictures import TrainingPictures

RED, BLUE = (220, 40, 40), (30, 60, 220)  # of the discs and squares


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_labels(draw_pictures(tmp_path_factory.mktemp("drawn")))


def share_of(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - colour).max(2) < 30).mean())


@pytest.mark.parametrize("name", ["n-320", "s-320"])
def test_targets_cover_their_objects(dataset: Dataset, name: str) -> None:
    preset = get_preset(name)
    still = TrainConfig(iterations=1, batch_size=4, zoom=(1, 1), aspect=1, flip=0, colour=0)
    batch = TrainingData(dataset, preset, still).batch(0)
    show = TrainingPictures(build_contract(preset, dataset.classes), dataset.records)
    before = batch.images.clone()
    bare = torch.zeros_like(batch.has_mask)
    picture = show.augmented(batch)
    assert picture.shape == (320, 4 * 320, 3) and picture.dtype == np.uint8
    assert torch.equal(batch.images, before)
    batch.has_mask = bare
    without = show.augmented(batch)
    # Whatever order of colours the network reads, people see red discs and blue squares.
    assert share_of(without, RED) > 0.03 and share_of(without, BLUE) > 0.02
    assert share_of(picture, RED) + share_of(picture, BLUE) < 0.01  # all tinted
    batch.classes = torch.full_like(batch.classes, CLASS_AGNOSTIC)
    assert not np.array_equal(show.augmented(batch), without)


def test_predictions_are_shown_small(dataset: Dataset) -> None:
    preset = get_preset("n-320")
    show = TrainingPictures(build_contract(preset, dataset.classes), dataset.records * 5)
    network = build_network(preset, 2).eval()
    for level in network.head.levels:
        torch.nn.init.zeros_(level.scores.weight)
    picture = show.predictions(network)
    assert picture.shape == (2 * 240, 4 * 320, 3)
    assert share_of(picture, RED) > 0.03  # nothing is found, so the pictures are as they were


def test_one_picture_is_one_tile(dataset: Dataset, tmp_path: Path) -> None:
    preset = get_preset("n-320")
    show = TrainingPictures(build_contract(preset, dataset.classes), dataset.records[:1])
    assert show.predictions(build_network(preset, 2).eval()).shape == (240, 320, 3)
