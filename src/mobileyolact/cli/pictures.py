"""One picture of ``predict``: read, find, draw, write."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mobileyolact.cli.records import Records
from mobileyolact.cli.report import Result
from mobileyolact.errors import ImageError

if TYPE_CHECKING:
    from mobileyolact.runtime.predictor import Predictor

# Stored in what is written here, as the EXIF tag Software, to tell it from a photograph.
MARK = "drawn by mobileyolact"


def predict_picture(
    predictor: "Predictor",
    source: Path,
    target: Path,
    records: Records,
    note: Callable[[str], None],
) -> Result:
    """Predict on one picture and write it with its masks.

    Raises:
        ImageError: the picture cannot be read, or not be stored in the format of ``target``.
        MobileYolactError: the place cannot be written, or the disk is full.
    """
    from mobileyolact.runtime.draw import draw_onto
    from mobileyolact.runtime.image import open_image

    start = time.perf_counter()
    image = open_image(source, note=note)
    read = time.perf_counter()
    instances, timings = predictor.timed(image)
    instances = instances.distinct()
    done = time.perf_counter()
    draw_onto(image, instances)
    write_picture(target, image)
    height, width = image.shape[:2]
    del image  # 300 MB of a picture of 100 megapixels, before its masks are encoded
    drawn = time.perf_counter()
    stages = {
        "read": 1e3 * (read - start),
        "preprocess": timings.preprocess_ms,
        "network": timings.network_ms,
        "postprocess": timings.postprocess_ms,
        "draw": 1e3 * (drawn - done),
    }
    if records.wanted:
        records.add(
            {
                "source": str(source),
                "picture": str(target),
                "height": height,
                "width": width,
                "milliseconds": {stage: round(ms, 2) for stage, ms in stages.items()},
                "instances": instances.to_json(),
            }
        )
    return Result(source.name, Counter(instances.class_names), stages)


class _WithoutDescriptor:
    """A file that Pillow has to hand its bytes to.

    It would rather write to the descriptor itself, and take what a full disk no longer holds
    for written.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def write_picture(target: Path, image: Any) -> None:
    """Write (H, W, 3) uint8 RGB in the format that the suffix says, marked as drawn.

    Raises:
        ImageError: the format does not take such a picture, for example one so wide.
        MobileYolactError: the place cannot be written, or the disk is full.
    """
    from PIL import ExifTags, Image

    from mobileyolact.files import write_beside

    kind = Image.registered_extensions()[target.suffix.lower()]
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = MARK
    with write_beside(target) as beside, beside.open("wb") as file:
        try:
            stream: Any = _WithoutDescriptor(file)
            Image.fromarray(image).save(stream, kind, quality=92, exif=exif)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise ImageError(f"cannot store {target} as {kind}: {error}") from None


def is_drawn_picture(path: Path) -> bool:
    """Was this picture written by ``write_picture``? The pixels are not decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return MARK.encode() in image.info.get("exif", b"")
    except Exception:  # damaged, or no picture: who reads it will say so
        return False
