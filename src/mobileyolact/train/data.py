"""From labels to batches: which pictures, how augmented, as a pure function of the iteration."""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Record
from mobileyolact.model.presets import Preset
from mobileyolact.runtime.image import open_image
from mobileyolact.train.augment import FILL, random_affine, random_colour, warp, warp_label
from mobileyolact.train.config import TrainConfig

# Pictures with classes that fewer than this share of all pictures show are drawn more often
# (repeat factor sampling of LVIS, arXiv:1908.03195, appendix C).
BALANCE_THRESHOLD = 0.05


@dataclass
class Batch:
    """B augmented pictures and their M objects and Q crowd regions.

    ``images`` (B, 3, H, W) float32, normalised. ``boxes`` (M, 4) float32 xyxy in input pixels,
    ``classes`` (M,) int64 (``CLASS_AGNOSTIC`` for none), ``masks`` (M, H/4, W/4) uint8 covered
    share, ``has_mask`` (M,) bool, ``image_index`` (M,) int64. ``labelled`` (B, C) bool: classes
    completely labelled in each picture. ``crowd_masks`` (Q, H/4, W/4) uint8 with
    ``crowd_classes`` and ``crowd_image_index``. ``names``: the pictures' paths.
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

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device``."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in dataclasses.fields(self)
            if f.name != "names"
        }
        return dataclasses.replace(self, **moved)


class TrainingData:
    """Batches of a dataset; ``batch(i)`` depends on the configuration's seed and ``i`` alone."""

    def __init__(self, dataset: Dataset, preset: Preset, config: TrainConfig) -> None:
        self.dataset = dataset
        self.preset = preset
        self.config = config
        self.repeats = repeat_factors(dataset)
        self.epoch_length = max(1, round(self.repeats.sum()))

    def __len__(self) -> int:
        return len(self.dataset.records)

    def batch(self, iteration: int, rank: int = 0, world: int = 1) -> Batch:
        """The batch of ``iteration``; of several processes, ``rank`` gets its share of it."""
        size = self.config.batch_size
        first = iteration * size
        samples = [self.sample(p) for p in range(first + rank, first + size, world)]
        return self.collate(samples)

    def order(self, epoch: int) -> np.ndarray:
        """Record indices (epoch_length,) of one epoch, in the order they are drawn."""
        random = np.random.default_rng([self.config.seed, epoch])
        shuffled = random.permutation(len(self))
        # Systematic sampling: each record comes floor or ceil of its repeat factor times.
        ends = np.cumsum(self.repeats[shuffled]) * (self.epoch_length / self.repeats.sum())
        picks = np.searchsorted(ends, np.arange(self.epoch_length) + random.uniform(), "right")
        drawn = shuffled[np.minimum(picks, len(self) - 1)]
        return np.asarray(random.permutation(drawn))

    def sample(self, position: int) -> tuple[Record, "_Sample"]:
        """The augmented picture at ``position`` of the endless sequence of pictures."""
        epoch, index = divmod(position, self.epoch_length)
        record = self.dataset.records[self.order(epoch)[index]]
        random = np.random.default_rng([self.config.seed, epoch, index])
        return record, augment_record(record, self.preset, self.config, random)

    def collate(self, samples: list[tuple[Record, "_Sample"]]) -> Batch:
        height, width = self.preset.input_size
        classes = len(self.dataset.classes)
        labelled = np.ones((len(samples), classes), bool)
        for row, (record, _) in zip(labelled, samples, strict=True):
            if record.exhaustive is not None:
                row[:] = False
                row[list(record.exhaustive)] = True
        objects = [(i, o) for i, (_, s) in enumerate(samples) for o in s.objects]
        crowds = [(i, o) for i, (_, s) in enumerate(samples) for o in s.crowds]
        images = torch.from_numpy(np.stack([s.image for _, s in samples]))
        nothing = np.zeros((height // 4, width // 4), np.uint8)

        def masks(found: list[tuple[int, "_Object"]]) -> Tensor:
            stacked = [nothing if o.mask is None else o.mask for _, o in found]
            return torch.from_numpy(np.stack(stacked) if stacked else nothing[None][:0])

        def integers(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long)

        boxes = np.array([o.box for _, o in objects], np.float32).reshape(-1, 4)
        return Batch(
            images=images.contiguous(memory_format=torch.channels_last),
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
        )


@dataclass(frozen=True)
class _Object:
    box: np.ndarray
    mask: np.ndarray | None
    class_index: int


@dataclass(frozen=True)
class _Sample:
    image: np.ndarray
    objects: list[_Object]
    crowds: list[_Object]


def augment_record(
    record: Record, preset: Preset, config: TrainConfig, random: np.random.Generator
) -> _Sample:
    """Read, warp, colour and normalise one picture with its labels."""
    image = open_image(record.path)
    shape, size = (image.shape[0], image.shape[1]), preset.input_size
    matrix = random_affine(shape, size, config, random)
    colour = random_colour(config, random)
    warped = cv2.transform(warp(image, matrix, size, FILL).astype(np.float32), colour)
    np.clip(warped, 0, 255, out=warped)
    if preset.colour_order == "bgr":
        warped = warped[:, :, ::-1]
    mean, std = (np.array(values, np.float32) for values in (preset.mean, preset.std))
    normalised = (warped - mean) / std
    objects: list[_Object] = []
    crowds: list[_Object] = []
    for label in record.labels:
        seen = warp_label(label, shape, matrix, size)
        if seen is not None:
            part = crowds if label.crowd else objects
            part.append(_Object(seen.box, seen.mask, label.class_index))
    return _Sample(np.ascontiguousarray(normalised.transpose(2, 0, 1), np.float32), objects, crowds)


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
