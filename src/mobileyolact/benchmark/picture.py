"""The picture that is timed: one of the user's, or a built-in one that is the same everywhere."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mobileyolact.runtime.image import check_size, open_image

ImageArray = npt.NDArray[np.uint8]

JPEG_QUALITY = 90
_COARSEST = 3  # grains across the shorter side
_TILE = 512
# Strength of the finest grain in grey levels, and how it grows from one size to the next.
_FINEST, _GROWTH = 7.0, 1.2


def load_picture(path: Path | None, size: tuple[int, int] | None) -> ImageArray:
    """A picture of a size.

    Args:
        path: its file, or ``None`` for the built-in one.
        size: (width, height) in pixels; ``None`` leaves the file's own.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: it cannot be read, or is too large.
    """
    if size is not None:
        check_size(size[1], size[0], "the picture asked for", 100_000_000)
    if path is None:
        assert size is not None, "the built-in picture has no size of its own"
        return _clouds(*size)
    image = open_image(path)
    if size is None or size == (image.shape[1], image.shape[0]):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def as_jpeg(image: ImageArray) -> bytes:
    """The picture as a camera would store it."""
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def _clouds(width: int, height: int) -> ImageArray:
    """Coloured noise of all sizes, coarse noise the strongest, as in photographs.

    Its JPEG has about as many bytes a pixel as those of photographs, and takes as long to decode.
    """
    random = np.random.default_rng(0)
    tile = random.normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    total = np.full((height, width, 3), 118, dtype=np.float32)
    grain, strength = 1, _FINEST
    while grain * _COARSEST <= min(width, height):
        rows, columns = (np.arange(side // grain + 1) % _TILE for side in (height, width))
        noise = cv2.resize(tile[rows][:, columns], (width, height))
        for channel, tint in enumerate(random.uniform(0.5, 1, 3)):
            total[:, :, channel] += np.float32(strength * tint) * noise
        grain, strength = 2 * grain, _GROWTH * strength
    return np.clip(total, 0, 255).astype(np.uint8)
