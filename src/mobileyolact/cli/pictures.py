"""One picture of ``predict``: read, find, draw, write."""

import struct
import time
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mobileyolact.cli.report import Result
from mobileyolact.errors import ImageError
from mobileyolact.runtime.image import MAX_PIXELS, open_image

if TYPE_CHECKING:
    from mobileyolact.runtime.predictor import Predictor

# Stored in what is written here, as the EXIF tag Software, to tell it from a photograph.
MARK = "drawn by mobileyolact"
# One tag of one text, little-endian; Pillow would load its TIFF reader to write as much.
_EXIF = (
    b"Exif\0\0II*\0"
    + struct.pack("<IHHHIII", 8, 1, 0x0131, 2, len(MARK) + 1, 26, 0)
    + f"{MARK}\0".encode()
)


class Picture:
    """One picture on its way through ``read``, ``find`` and ``finish``, in any threads.

    ``notes`` are sentences about it for the user.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self.notes: list[str] = []
        self._stages: dict[str, float] = {}  # milliseconds

    def read(self, max_pixels: int = MAX_PIXELS) -> None:
        """Decode it.

        Raises:
            ImageError: it cannot be read, or is larger than ``max_pixels``.
        """
        self.notes.clear()
        start = time.perf_counter()
        self._image = open_image(self.source, max_pixels, self.notes.append)
        self._stages["read"] = 1e3 * (time.perf_counter() - start)

    def find(self, predictor: "Predictor") -> None:
        """Predict on it."""
        self._instances, timings = predictor.timed(self._image)
        self._stages["preprocess"] = timings.preprocess_ms
        self._stages["network"] = timings.network_ms
        self._stages["postprocess"] = timings.postprocess_ms

    def finish(self, *, recorded: bool) -> tuple[Result, dict[str, Any] | None]:
        """Draw the masks and write the picture.

        Returns:
            What was found, and if it is to be ``recorded`` what ``--json`` shows of it.

        Raises:
            ImageError: it cannot be stored in the format of ``target``.
            MobileYolactError: the place cannot be written, or the disk is full.
        """
        from mobileyolact.runtime.draw import draw_onto

        instances = self._instances.distinct()
        start = time.perf_counter()
        draw_onto(self._image, instances)
        write_picture(self.target, self._image)
        del self._image  # 300 MB of a picture of 100 megapixels, before its masks are encoded
        self._stages["draw"] = 1e3 * (time.perf_counter() - start)
        result = Result(self.source.name, Counter(instances.class_names), self._stages)
        if not recorded:
            return result, None
        return result, {
            "source": str(self.source),
            "picture": str(self.target),
            "height": instances.height,
            "width": instances.width,
            "milliseconds": {stage: round(ms, 2) for stage, ms in self._stages.items()},
            "instances": instances.to_json(),
        }


class _WithoutDescriptor:
    """A file that Pillow has to hand its bytes to, and whose name says the format.

    It would rather write to the descriptor itself, and take what a full disk no longer holds
    for written. Told the format instead of a name, it would load others too.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.write, self.name = file.write, name


def write_picture(target: Path, image: Any) -> None:
    """Write (H, W, 3) uint8 RGB in the format that the suffix says, marked as drawn.

    Raises:
        ImageError: the format does not take such a picture, for example one so wide.
        MobileYolactError: the place cannot be written, or the disk is full.
    """
    from PIL import Image

    from mobileyolact.files import write_beside

    with write_beside(target) as beside, beside.open("wb") as file:
        try:
            stream: Any = _WithoutDescriptor(file, target.name)
            Image.fromarray(image).save(stream, quality=92, exif=_EXIF)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            kind = target.suffix[1:].upper()
            raise ImageError(f"cannot store {target} as {kind}: {error}") from None


def is_drawn_picture(path: Path) -> bool:
    """Was this picture written by ``write_picture``? The pixels are not decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return MARK.encode() in image.info.get("exif", b"")
    except Exception:  # damaged, or no picture: who reads it will say so
        return False
