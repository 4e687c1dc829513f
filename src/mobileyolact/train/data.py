"""From labels to batches: which pictures, how augmented, as a pure function of the iteration."""

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Record
from mobileyolact.model.presets import Preset
from mobileyolact.runtime.image import open_image
from mobileyolact.train.augment import (
    FILL,
    Warped,
    random_affine,
    random_colour,
    warp,
    warp_label,
)
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.paste import choose, occlude, paste

# Pictures with classes that fewer than this share of all pictures show are drawn more often
# (repeat factor sampling of LVIS, arXiv:1908.03195, appendix C).
BALANCE_THRESHOLD = 0.05

SIZE_STEP = 32  # what the neck adds up fits together at multiples of it


@dataclass
class Batch:
    """B augmented pictures and their M objects and Q crowd regions.

    ``images`` (B, 3, H, W) uint8, and float32 normalised by ``mean`` and ``std`` (3,) after ``to``,
    since bytes travel between processes and to a device in a quarter of the time. ``boxes``
    (M, 4) float32 xyxy in input pixels, ``classes`` (M,) int64 (``CLASS_AGNOSTIC`` for none),
    ``masks`` (M, H / 4, W / 4), rounded up, uint8 covered share, ``has_mask`` (M,) bool,
    ``image_index`` (M,) int64. ``labelled`` (B, C) bool: classes completely labelled in each
    picture. ``crowd_masks`` (Q, H / 4, W / 4) uint8 with ``crowd_classes`` and
    ``crowd_image_index``. ``names``: the pictures' paths.
    """

    images: Tensor
    boxes: Tensor
    classes: Tensor
    masks: Tensor
    has_mask: Tensor
    image_index: Tensor
    labelled: Tensor
    crowd_masks: Tensor
    crowd_classes: Tensor
    crowd_image_index: Tensor
    names: list[str]
    mean: Tensor
    std: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device`` and its images normalised."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in dataclasses.fields(self)
            if f.name != "names"
        }
        if moved["images"].dtype == torch.uint8:
            mean, std = (moved[name].view(3, 1, 1) for name in ("mean", "std"))
            moved["images"] = (moved["images"].float() - mean) / std
        return dataclasses.replace(self, **moved)


class TrainingData:
    """Batches of a dataset; ``batch(i)`` depends on the configuration's seed and ``i`` alone."""

    def __init__(self, dataset: Dataset, preset: Preset, config: TrainConfig) -> None:
        self.dataset = dataset
        self.preset = preset
        self.config = config
        self.repeats = repeat_factors(dataset)
        self.epoch_length = max(1, round(self.repeats.sum()))
        self._order = (-1, np.zeros(0, np.int64))  # of the epoch that was asked for last

    def __len__(self) -> int:
        return len(self.dataset.records)

    def batch(self, iteration: int, rank: int = 0, world: int = 1) -> Batch:
        """The batch of ``iteration``; of several processes, ``rank`` gets its share of it."""
        size = self.config.batch_size
        first = iteration * size
        preset = dataclasses.replace(self.preset, input_size=self.input_size(iteration))
        positions = range(first + rank, first + size, world)
        return self.collate([self.sample(p, preset) for p in positions], preset.input_size)

    def input_size(self, iteration: int) -> tuple[int, int]:
        """Height and width of all inputs of ``iteration``.

        They are the preset's, but with ``multi_scale`` s the height is drawn evenly from the
        multiples of 32 between 1 - s and 1 + s times the preset's (as in YOLOv2,
        arXiv:1612.08242, section 2), the same in every process, and the width follows.
        """
        (height, width), spread = self.preset.input_size, self.config.multi_scale
        low, high = ((1 + s) * height / SIZE_STEP for s in (-spread, spread))
        steps = range(math.ceil(low), math.floor(high) + 1)
        if not spread or not steps:
            return height, width
        # The last word keeps these numbers apart from those that make the pictures.
        random = np.random.default_rng([self.config.seed, iteration, 0, 1])
        drawn = SIZE_STEP * int(random.choice(steps))
        return drawn, SIZE_STEP * round(drawn * width / height / SIZE_STEP)

    def order(self, epoch: int) -> np.ndarray:
        """Record indices (epoch_length,) of one epoch, in the order they are drawn."""
        if self._order[0] == epoch:
            return self._order[1]
        random = np.random.default_rng([self.config.seed, epoch])
        shuffled = random.permutation(len(self))
        # Systematic sampling: each record comes floor or ceil of its repeat factor times.
        ends = np.cumsum(self.repeats[shuffled]) * (self.epoch_length / self.repeats.sum())
        picks = np.searchsorted(ends, np.arange(self.epoch_length) + random.uniform(), "right")
        drawn = shuffled[np.minimum(picks, len(self) - 1)]
        self._order = epoch, np.asarray(random.permutation(drawn))
        return self._order[1]

    def sample(self, position: int, preset: Preset) -> tuple[Record, "Sample"]:
        """The augmented picture at ``position`` of the endless sequence, as input of ``preset``."""
        epoch, index = divmod(position, self.epoch_length)
        record = self.dataset.records[self.order(epoch)[index]]
        random = np.random.default_rng([self.config.seed, epoch, index])
        sample = augment_record(record, preset, self.config, random)
        if random.uniform() < self.config.copy_paste:
            donor = self.dataset.records[random.integers(len(self))]
            other = augment_record(donor, preset, self.config, random)
            self._paste(sample, record, other, random)
        return record, sample

    def _paste(
        self, sample: "Sample", record: Record, other: "Sample", random: np.random.Generator
    ) -> None:
        # An object of unknown class would be taught as background wherever classes are labelled.
        taken = [
            found
            for found in choose(other.objects, sample.size, random)
            if found.class_index != CLASS_AGNOSTIC or record.exhaustive == frozenset()
        ]
        cover = paste(sample.image, other.image, taken)
        sample.objects = occlude(sample.objects, cover) + taken
        sample.crowds = occlude(sample.crowds, cover)

    def collate(self, samples: list[tuple[Record, "Sample"]], input_size: tuple[int, int]) -> Batch:
        height, width = input_size
        classes = len(self.dataset.classes)
        labelled = np.ones((len(samples), classes), bool)
        for row, (record, _) in zip(labelled, samples, strict=True):
            if record.exhaustive is not None:
                row[:] = False
                row[list(record.exhaustive)] = True
        objects = [(i, o) for i, (_, s) in enumerate(samples) for o in s.objects]
        crowds = [(i, o) for i, (_, s) in enumerate(samples) for o in s.crowds]
        images = torch.from_numpy(np.stack([s.image for _, s in samples]))

        def masks(found: list[tuple[int, Warped]]) -> Tensor:
            covered = [o.covered((height, width)) for _, o in found]
            nothing = np.zeros((0, -(-height // 4), -(-width // 4)), np.uint8)
            return torch.from_numpy(np.stack(covered) if covered else nothing)

        def integers(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long)

        boxes = np.array([o.box for _, o in objects], np.float32).reshape(-1, 4)
        return Batch(
            images=images.permute(0, 3, 1, 2),  # channels last in memory
            boxes=torch.from_numpy(boxes),
            classes=integers([o.class_index for _, o in objects]),
            masks=masks(objects),
            has_mask=torch.tensor([o.mask is not None for _, o in objects], dtype=torch.bool),
            image_index=integers([i for i, _ in objects]),
            labelled=torch.from_numpy(labelled),
            crowd_masks=masks(crowds),
            crowd_classes=integers([o.class_index for _, o in crowds]),
            crowd_image_index=integers([i for i, _ in crowds]),
            names=[str(record.path) for record, _ in samples],
            mean=torch.tensor(self.preset.mean),
            std=torch.tensor(self.preset.std),
        )


@dataclass
class Sample:
    """One augmented picture (H, W, 3) uint8 in the preset's colour order, and what it shows."""

    image: NDArray[np.uint8]
    objects: list[Warped]
    crowds: list[Warped]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.image.shape[0], self.image.shape[1]


def augment_record(
    record: Record, preset: Preset, config: TrainConfig, random: np.random.Generator
) -> Sample:
    """Read, warp and colour one picture with its labels."""
    image = open_image(record.path)
    shape, size = (image.shape[0], image.shape[1]), preset.input_size
    matrix = random_affine(shape, size, config, random)
    colour = random_colour(config, random)
    if preset.colour_order == "bgr":
        colour = colour[::-1]
    coloured = cv2.transform(warp(image, matrix, size, FILL), colour)  # saturates
    sample = Sample(np.asarray(coloured, np.uint8), [], [])
    for label in record.labels:
        seen = warp_label(label, shape, matrix, size)
        if seen is not None:
            (sample.crowds if label.crowd else sample.objects).append(seen)
    return sample


def repeat_factors(dataset: Dataset) -> np.ndarray:
    """How often each record is drawn an epoch (R,) float64: the square root of its rarity."""
    shown = [{label.class_index for label in record.labels} for record in dataset.records]
    counts: dict[int, int] = {}
    for classes in shown:
        for index in classes:
            counts[index] = counts.get(index, 0) + 1
    total = len(shown)
    factor = {
        index: max(1.0, (BALANCE_THRESHOLD * total / count) ** 0.5)
        for index, count in counts.items()
        if index != CLASS_AGNOSTIC
    }
    return np.array([max((factor.get(i, 1.0) for i in classes), default=1.0) for classes in shown])
