"""Pictures for TensorBoard: what augmentation made of the labels, and what the average finds."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mobileyolact.contract import ModelContract
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Record
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.runtime.backends.base import Backend
from mobileyolact.runtime.chips import Chip, Colour, draw_chips
from mobileyolact.runtime.draw import PALETTE, draw
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.predictor import Predictor
from mobileyolact.train.augment import FILL
from mobileyolact.train.data import Batch

Picture = NDArray[np.uint8]
OpenNetwork = Callable[[MobileYolact, ModelContract], Backend]

TILES = 8
TILE_SIDE = 320  # pixels of a tile's longer side
_COLUMNS = 4
_NO_CLASS: Colour = (255, 255, 255)
_TINT = 0.5


class TrainingPictures:
    """Draws pictures of a run that trains ``contract``; ``records`` are predicted on.

    ``open_network`` makes of a network and its contract what predicts.

    All pictures are (H, W, 3) uint8 RGB: up to eight tiles of at most 320 pixels side by side.
    """

    def __init__(
        self,
        contract: ModelContract,
        records: Sequence[Record],
        open_network: OpenNetwork = TorchBackend,
    ) -> None:
        self._contract = contract
        self._open = open_network
        shown = [record for record in records if record.labels] or list(records)
        step = max(1, len(shown) // TILES)
        self._records = shown[::step][:TILES]

    def predictions(self, network: MobileYolact) -> Picture:
        """What ``network`` finds in a few pictures, drawn as ``mobileyolact predict`` would."""
        with Predictor(self._open(network, self._contract)) as predictor:
            pictures = (open_image(record.path) for record in self._records)
            return _grid([draw(picture, predictor(picture).distinct()) for picture in pictures])

    def augmented(self, batch: Batch) -> Picture:
        """The first inputs of a batch, before ``Batch.to``, with the targets made of their labels.

        Masks are as coarse as the network learns them; what has no class, and crowds, are white.
        """
        return _grid([self._targets(batch, i) for i in range(min(TILES, len(batch.images)))])

    def _targets(self, batch: Batch, index: int) -> Picture:
        canvas = batch.images[index].permute(1, 2, 0).numpy().copy()
        if self._contract.colour_order == "bgr":
            canvas = np.ascontiguousarray(canvas[..., ::-1])
        for row in (batch.crowd_image_index == index).nonzero()[:, 0].tolist():
            _tint(canvas, batch.crowd_masks[row].numpy(), _NO_CLASS)
        chips = []
        for row in (batch.image_index == index).nonzero()[:, 0].tolist():
            number = int(batch.classes[row])
            agnostic = number == CLASS_AGNOSTIC
            name = "any" if agnostic else self._contract.class_names[number]
            colour = _NO_CLASS if agnostic else PALETTE[number % len(PALETTE)]
            if batch.has_mask[row]:
                _tint(canvas, batch.masks[row].numpy(), colour)
            x1, y1, x2, y2 = batch.boxes[row].tolist()
            corners = (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1)
            cv2.rectangle(canvas, *corners, colour, 1)
            chips.append(Chip(name, colour, (x1 + x2) / 2, y1, y2))
        draw_chips(canvas, chips)
        return canvas


def _tint(canvas: Picture, cells: Picture, colour: Colour) -> None:
    """Colour ``canvas`` (H, W, 3) in place by the covered share ``cells`` (H / 4, W / 4)."""
    size = (canvas.shape[1], canvas.shape[0])
    share = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)[..., None] * (_TINT / 255)
    canvas[:] = np.rint(canvas + share * (np.array(colour) - canvas))


def _grid(tiles: Sequence[Picture]) -> Picture:
    """Tiles of any size, shrunk to fit, in rows of four."""
    scales = [min(1.0, TILE_SIDE / max(tile.shape)) for tile in tiles]
    small = [
        cv2.resize(tile, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for tile, scale in zip(tiles, scales, strict=True)
    ]
    height, width = (max(tile.shape[axis] for tile in small) for axis in (0, 1))
    columns = min(_COLUMNS, len(small))
    rows = math.ceil(len(small) / columns)
    grid = np.full((rows * height, columns * width, 3), FILL, np.uint8)
    for number, tile in enumerate(small):
        top, left = (number // columns) * height, (number % columns) * width
        grid[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return grid
