"""Finding the pictures that a labels file names, and their sizes."""

from contextlib import suppress
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations by a quarter turn


class PictureFinder:
    """Looks for pictures in the given folder, beside the labels, and in ``images`` there.

    COCO's own layout is known too: labels in ``annotations`` with the folder of pictures next to
    it. For ``instances_train2017.json`` that folder may be called ``train2017``, after the last
    word of the name. A name with folders in front is tried as it is and without them.
    """

    def __init__(self, labels: Path, images: Path | None) -> None:
        split = labels.stem.rpartition("_")[2]
        self.folders = [labels.parent, labels.parent / "images"]
        if labels.resolve().parent.name == "annotations":
            self.folders += [labels.parent / ".." / "images", labels.parent / ".." / split]
        if images is not None:
            self.folders.insert(0, images)

    def find(self, name: str) -> Path | None:
        """The path of the picture called ``name`` in the labels, ``None`` if it is nowhere."""
        plain = PurePosixPath(name.replace("\\", "/"))
        for form in dict.fromkeys((str(plain), plain.name)):
            for folder in self.folders:
                path = folder / form
                with suppress(OSError):  # a name too long for the system is nowhere
                    if path.is_file():
                        return path
        return None


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height as shown, EXIF rotation applied; ``None`` if it is no readable picture.

    Reads no more than the header.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION) in _TURNED
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    return (height, width) if turned else (width, height)
