"""Any picture that Pillow can read, or an array, as one RGB array."""

import io
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from mobileyolact.errors import ImageError

ImageArray = npt.NDArray[np.uint8]
Source = str | Path | bytes | npt.NDArray[np.generic] | Image.Image

MAX_PIXELS = 100_000_000


def open_image(source: Source, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read a picture as RGB.

    Args:
        source: path of a file, the bytes of a file, a Pillow image, or an array (H, W),
            (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16 or bool.
        max_pixels: larger pictures are refused before they are decoded. Pillow's own limit of
            179 million pixels stays in force for files.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous. EXIF orientation is applied, transparency is laid
        over white, 16-bit values are divided by 257, and of an animation the first frame is
        taken. An array that has this form already is returned as it is, not copied.

    Raises:
        ImageError: missing, not a picture, damaged, empty, or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pillow(source, "the Pillow image", max_pixels)
    if isinstance(source, bytes):
        return _from_file(io.BytesIO(source), f"the {len(source)} bytes given", max_pixels)
    if not isinstance(source, str | Path):
        raise ImageError(
            f"a picture cannot be read from {type(source).__name__}; "
            "give a path, bytes, an array or a Pillow image"
        )
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give the path of a picture in it")
    try:
        with path.open("rb") as file:
            return _from_file(file, str(path), max_pixels)
    except FileNotFoundError:
        raise ImageError(f"there is no picture at {path}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise ImageError(f"cannot read {path}: {error}") from None


def _from_file(file: IO[bytes], where: str, max_pixels: int) -> ImageArray:
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
    with image:
        return _from_pillow(image, where, max_pixels)


def _from_pillow(image: Image.Image, where: str, max_pixels: int) -> ImageArray:
    _check_size(image.height, image.width, where, max_pixels)
    try:
        image.load()
        return _to_rgb(_upright(image))
    except Exception as error:  # as above: truncated data, broken palettes, odd modes
        raise ImageError(f"{where} is damaged: {error}; save it again") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the picture, which is loaded by now
        return image


def _to_rgb(image: Image.Image) -> ImageArray:
    if image.mode == "RGB":
        return np.ascontiguousarray(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        return _from_array(_to_16_bit(np.asarray(image)), image.width * image.height)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        return np.ascontiguousarray(converted)
    if image.mode == "La":  # Pillow knows one way only out of premultiplied grey
        image = image.convert("LA")
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.ascontiguousarray(image.convert("RGB"))


def _to_16_bit(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Grey values of 16 bits as they are; other ranges stretched from darkest to brightest."""
    grey = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        grey = (grey - low) * (65535 / (high - low or 1.0))
    return grey.round().astype(np.uint16)


def _from_array(array: npt.NDArray[np.generic], max_pixels: int) -> ImageArray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            f"an array of shape {array.shape} is no picture; "
            "give (H, W), (H, W, 3) RGB or (H, W, 4) RGBA"
        )
    _check_size(array.shape[0], array.shape[1], "the array", max_pixels)
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


def _check_size(height: int, width: int, where: str, max_pixels: int) -> None:
    if height == 0 or width == 0:
        raise ImageError(f"{where} is empty: {width}x{height} pixels")
    if height * width > max_pixels:
        raise ImageError(
            f"{where} has {width}x{height} pixels, more than the limit of {max_pixels}; "
            "make it smaller or raise max_pixels"
        )
