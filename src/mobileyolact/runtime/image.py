"""Any picture that Pillow can read, or an array, as one RGB array."""

import io
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from mobileyolact.errors import ImageError

ImageArray = npt.NDArray[np.uint8]
Source = str | Path | bytes | npt.NDArray[np.generic] | Image.Image

MAX_PIXELS = 100_000_000
_STRIP_PIXELS = 2**20


class Reduced(NamedTuple):
    """A picture (H, W, 3) uint8 RGB that may have been decoded at a smaller size.

    ``height`` and ``width`` are those of the whole picture; a side of its pixels is ``factor``
    times as long here, so that the last ones may reach over its edge.
    """

    pixels: ImageArray
    height: int
    width: int
    factor: int


def open_image(
    source: Source, max_pixels: int = MAX_PIXELS, note: Callable[[str], None] | None = None
) -> ImageArray:
    """Read a picture as RGB.

    Args:
        source: path of a file, the bytes of a file, a Pillow image, or an array (H, W),
            (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16 or bool.
        max_pixels: larger pictures are refused before they are decoded. Pillow's own limit of
            179 million pixels stays in force for files.
        note: is told in a sentence when only the first of several frames is taken.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous. EXIF orientation is applied, transparency is laid
        over white, grey values of 16 bits are divided by 257 (of colours with 16 bits Pillow
        gives the upper 8), and of an animation the first frame is taken. An array that has
        this form already is returned as it is, not copied.

        A picture of 100 megapixels takes 700 MB at most while it is read, and then 300 MB;
        a progressive JPEG takes up to 600 MB more.

    Raises:
        ImageError: missing, not a picture, damaged, empty, or too large.
    """
    return _open(source, max_pixels, note, None).pixels


def open_reduced(source: Source, least: tuple[int, int], max_pixels: int = MAX_PIXELS) -> Reduced:
    """Read a picture as ``open_image`` does, but a large JPEG faster at 1/2, 1/4 or 1/8 the size.

    ``least`` is (height, width) of the upright picture, below which neither side is reduced.
    """
    return _open(source, max_pixels, None, least)


def _open(
    source: Source,
    max_pixels: int,
    note: Callable[[str], None] | None,
    least: tuple[int, int] | None,
) -> Reduced:
    if isinstance(source, np.ndarray):
        return _whole(_from_array(source, max_pixels))
    if isinstance(source, Image.Image):
        check_size(source.height, source.width, "the Pillow image", max_pixels)
        return _whole(_upright(*_read(source, "the Pillow image", note)))
    if isinstance(source, bytes):
        where = f"the {len(source)} bytes given"
        return _from_file(io.BytesIO(source), where, max_pixels, note, least)
    if not isinstance(source, str | Path):
        raise ImageError(
            f"a picture cannot be read from {type(source).__name__}; "
            "give a path, bytes, an array or a Pillow image"
        )
    with open_file(Path(source), "picture") as file:
        # By its name, because Pillow then loads the one format that the suffix stands for.
        return _from_file(file.name, str(source), max_pixels, note, least)


def _whole(pixels: ImageArray) -> Reduced:
    height, width = pixels.shape[:2]
    return Reduced(pixels, height, width, 1)


@contextmanager
def open_file(path: Path, kind: str) -> Iterator[IO[bytes]]:
    """Open a regular file with something in it for reading; ``kind`` is "picture", say.

    Raises:
        ImageError: there is none, or it cannot be read.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder; give the path of a {kind} in it")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for who writes to it
            raise ImageError(f"{path} is a device or a pipe; give the path of a regular file")
        if status.st_size == 0:
            raise ImageError(f"{path} is empty, a file of 0 bytes; copy it again")
        file = path.open("rb")
    except FileNotFoundError:
        if path.is_symlink():
            raise ImageError(f"the link {path} leads nowhere; check what it points to") from None
        raise ImageError(f"there is no {kind} at {path}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot read {path}: {reason}") from None
    with file:
        yield file


def _from_file(
    file: IO[bytes] | str,
    where: str,
    max_pixels: int,
    note: Callable[[str], None] | None,
    least: tuple[int, int] | None,
) -> Reduced:
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        raise ImageError(
            f"{where} is not a picture that Pillow knows; convert it to PNG or JPEG"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{where} is too large: {error}") from None
    except Exception as error:  # plug-ins raise whatever a damaged header leads them to
        raise ImageError(f"{where} is damaged: {error}; save it again") from None
    width, height = image.size
    try:
        check_size(height, width, where, max_pixels)
        if least is not None:
            _reduce(image, least)
        pixels, orientation = _read(image, where, note)
    finally:
        image.close()  # frees its pixels, before they are turned
    factor = round(width / pixels.shape[1])
    if _swaps_sides(orientation):
        height, width = width, height
    return Reduced(_upright(pixels, orientation), height, width, factor)


def _reduce(image: Image.Image, least: tuple[int, int]) -> None:
    """Let a JPEG that has not been read yet be decoded smaller; others stay as they are."""
    height, width = least
    if _swaps_sides(_orientation(image)):
        height, width = width, height
    image.draft(None, (width, height))


def _read(
    image: Image.Image, where: str, note: Callable[[str], None] | None
) -> tuple[ImageArray, int]:
    """The pixels of the first frame as they are stored, and their EXIF orientation."""
    try:
        # A phone's JPEG may hold a second picture, such as its depth; nobody calls that a frame.
        if note and image.format != "MPO" and getattr(image, "is_animated", False):
            note(f"{where} has several frames; only the first is taken")
        image.load()
        return _to_rgb(image), _orientation(image)
    except Exception as error:  # as above: truncated data, broken palettes, odd modes
        raise ImageError(f"{where} is damaged: {error}; save it again") from None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF says nothing about the picture, which is loaded by now
        return 1


def _swaps_sides(orientation: int) -> bool:
    return orientation in (5, 6, 7, 8)


def _upright(pixels: ImageArray, orientation: int) -> ImageArray:
    """Undo what EXIF says the camera did; 2 to 8, anything else is upright already."""
    if _swaps_sides(orientation):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _to_rgb(image: Image.Image) -> ImageArray:
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        low, high = _grey_range(image)
        return _in_strips(image, lambda strip: _to_8_bit(np.asarray(strip), low, high))
    if image.mode == "LAB":
        from PIL import ImageCms  # a library of its own, for few pictures

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return _in_strips(
            image, lambda strip: ImageCms.profileToProfile(strip, lab, rgb, outputMode="RGB")
        )
    return _in_strips(image, _colours)


def _colours(image: Image.Image) -> npt.NDArray[Any]:
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode == "La":  # Pillow knows one way only out of premultiplied grey
        image = image.convert("LA")
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Any]) -> ImageArray:
    """Convert some rows at a time, so that a large picture is not in memory many times."""
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    top = 0
    for strip in _strips(image):
        pixels[top : top + strip.height] = convert(strip)
        top += strip.height
    return pixels


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, _STRIP_PIXELS // image.width)
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """Grey of 16 bits is taken as it is, other ranges from their darkest to their brightest."""
    bounds = []
    for strip in _strips(image):
        values = np.asarray(strip)
        finite = np.where(np.isfinite(values), values, 0)
        bounds += [float(finite.min()), float(finite.max())]
    low, high = min(bounds), max(bounds)
    if image.mode == "F" or low < 0 or high > 65535:
        return low, high
    return 0, 65535


def _to_8_bit(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    grey = np.where(np.isfinite(values), values, 0).astype(np.float64)
    scaled = (grey - low) * (255 / (high - low or 1.0))
    return np.asarray(scaled.round().astype(np.uint8)[:, :, None])


def _from_array(array: npt.NDArray[np.generic], max_pixels: int) -> ImageArray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            f"an array of shape {array.shape} is no picture; "
            "give (H, W), (H, W, 3) RGB or (H, W, 4) RGBA"
        )
    check_size(array.shape[0], array.shape[1], "the array", max_pixels)
    if array.dtype == np.uint16:
        pixels = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == np.bool_:
        pixels = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint8:
        pixels = array.view(np.uint8)
    else:
        raise ImageError(f"an array of {array.dtype} is no picture; convert it to uint8, 0..255")
    if pixels.shape[2] == 4:
        return _over_white(pixels)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _over_white(rgba: ImageArray) -> ImageArray:
    alpha = rgba[:, :, 3:].astype(np.uint32)
    blended = rgba[:, :, :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def check_size(height: int, width: int, where: str, max_pixels: int) -> None:
    """Raise ImageError where there is no pixel, or are more than ``max_pixels``."""
    if height == 0 or width == 0:
        raise ImageError(f"{where} is empty: {width}x{height} pixels")
    if height * width > max_pixels:
        raise ImageError(
            f"{where} has {width}x{height} pixels, more than the limit of {max_pixels}; "
            "make it smaller or raise max_pixels"
        )
