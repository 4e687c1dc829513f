"""The result for one picture: boxes, scores, classes and masks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import OptionError, nearest
from mobileyolact.runtime.boxes import box_iou
from mobileyolact.runtime.masks import MaskSource, Roi
from mobileyolact.runtime.outlines import Polygon, outline

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]
SAME_OBJECT = 0.8

Index = int | slice | list[int] | list[bool] | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Instances:
    """N instances in a picture of ``height`` x ``width``, best score first.

    Masks are made when they are first asked for, one at a time and only inside their boxes, so
    that hundreds of instances in a large picture take little memory.

    Args:
        boxes: (N, 4) float32 xyxy in picture pixels, along pixel edges.
        scores: (N,) float32, 0..1.
        class_indices: (N,) index of the class in ``classes``.
        classes: the model's classes.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        masks: where masks come from.
        rows: (N,) row of each instance in ``masks``; ``None`` means 0..N-1.
    """

    boxes: FloatArray
    scores: FloatArray
    class_indices: IndexArray
    classes: tuple[ClassInfo, ...]
    height: int
    width: int
    masks: MaskSource
    rows: IndexArray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> "Instances":
        """Instances by integer (one instance), slice, integer array or boolean array."""
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"instance {index} of {len(self)}")
            index = np.array([index])
        elif isinstance(index, list) and not index:
            index = np.empty(0, dtype=np.intp)
        elif not isinstance(index, slice):
            index = np.asarray(index)
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return Instances(
            boxes=self.boxes[index],
            scores=self.scores[index],
            class_indices=self.class_indices[index],
            classes=self.classes,
            height=self.height,
            width=self.width,
            masks=self.masks,
            rows=rows[index],
        )

    def __iter__(self) -> Iterator["Instances"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        names = ", ".join(
            f"{name} {score:.2f}"
            for name, score in zip(self.class_names[:5], self.scores, strict=False)
        )
        more = ", ..." if len(self) > 5 else ""
        return f"Instances({len(self)} in {self.width}x{self.height}: {names}{more})"

    @property
    def class_names(self) -> list[str]:
        return [self.classes[i].name for i in self.class_indices]

    @property
    def original_ids(self) -> list[int]:
        """The class ids that the labels used, for COCO 1..90."""
        return [self.classes[i].original_id for i in self.class_indices]

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) mask areas in pixels."""
        areas = [np.count_nonzero(self.roi(i).bitmap) for i in range(len(self))]
        return np.array(areas, dtype=np.int64)

    def roi(self, i: int) -> Roi:
        """The mask of instance ``i`` as a bitmap that covers its box."""
        return self.masks.roi(i if self.rows is None else int(self.rows[i]))

    def dense(self) -> BoolArray:
        """All masks (N, height, width): N bytes for each pixel of the picture."""
        dense = np.zeros((len(self), self.height, self.width), dtype=bool)
        for i, mask in enumerate(dense):
            roi = self.roi(i)
            rows, columns = roi.bitmap.shape
            mask[roi.y : roi.y + rows, roi.x : roi.x + columns] = roi.bitmap
        return dense

    def filter(
        self, score: float | None = None, classes: Iterable[str | int] | str | None = None
    ) -> "Instances":
        """Instances with at least ``score`` and of one of ``classes`` (names or indices).

        Raises:
            OptionError: a class that the model does not know; the message names the nearest.
        """
        keep = np.ones(len(self), dtype=bool)
        if score is not None:
            keep &= self.scores >= score
        if classes is not None:
            wanted = [classes] if isinstance(classes, str) else classes
            keep &= np.isin(self.class_indices, [self._class_index(c) for c in wanted])
        return self[keep]

    def distinct(self, overlap: float = SAME_OBJECT) -> "Instances":
        """One instance for each place: of boxes that nearly coincide, the best of any class.

        Suppression in ``postprocess`` is per class, as evaluation wants it, so that one cat may
        also be found as a dog. People who look at a result want one answer.

        Args:
            overlap: IoU of boxes from which they are taken for the same object.
        """
        iou = box_iou(self.boxes, self.boxes)
        kept: list[int] = []
        for i in np.argsort(-self.scores, kind="stable").tolist():
            if not (iou[i, kept] >= overlap).any():
                kept.append(i)
        return self[sorted(kept)]

    def to_json(self) -> list[dict[str, Any]]:
        """One record of plain values for each instance; the mask as compressed COCO RLE."""
        return [
            {
                "class_index": info.index,
                "class_name": info.name,
                "class_id": info.original_id,
                "score": _plain(score),
                "box": [_plain(side) for side in box],
                "mask": self._rle(i),
            }
            for i, info, score, box in self._each()
        ]

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO results records: original category ids, box as x, y, width, height, RLE."""
        return [
            {
                "image_id": image_id,
                "category_id": info.original_id,
                "bbox": [_plain(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
                "score": _plain(score),
                "segmentation": self._rle(i),
            }
            for i, info, score, box in self._each()
        ]

    def to_polygons(self) -> list[list[Polygon]]:
        """For each instance its outer outlines as flat lists x, y, x, y, ... in picture pixels.

        Outlines run along pixel edges. Holes are filled; RLE from ``to_coco`` is exact.
        """
        return [outline(self.roi(i)) for i in range(len(self))]

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with dense masks.

        Raises:
            OptionError: the package supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError:
            raise OptionError(
                "to_supervision needs the package supervision; run: pip install supervision"
            ) from None
        return Detections(
            xyxy=self.boxes,
            mask=self.dense(),
            confidence=self.scores,
            class_id=self.class_indices.astype(int),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )

    def _each(self) -> Iterator[tuple[int, ClassInfo, np.float32, FloatArray]]:
        for i in range(len(self)):
            yield i, self.classes[self.class_indices[i]], self.scores[i], self.boxes[i]

    def _rle(self, i: int) -> rle.Rle:
        roi = self.roi(i)
        return rle.encode_roi(roi.bitmap, roi.x, roi.y, self.height, self.width)

    def _class_index(self, wanted: str | int) -> int:
        names = [info.name for info in self.classes]
        if isinstance(wanted, str) and wanted in names:
            return names.index(wanted)
        if not isinstance(wanted, str) and 0 <= wanted < len(names):
            return int(wanted)
        raise OptionError(f"the model has no class '{wanted}'{nearest(str(wanted), names)}")


def _plain(value: np.floating[Any]) -> float:
    """The shortest decimal number that is this float32, for small JSON."""
    return float(str(np.float32(value)))
