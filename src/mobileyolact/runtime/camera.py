"""A camera as a source of frames, through OpenCV, which knows the cameras of every system."""

import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from mobileyolact.errors import ImageError
from mobileyolact.runtime.video import USUAL_RATE, Frame, Look


class Camera:
    """The frames of a camera from now on, without end; times are those of a clock.

    Args:
        index: 0 for the first camera of the system.
        clock: in seconds.

    Raises:
        ImageError: there is no such camera, or it cannot be opened.
    """

    frames: int | None = None

    def __init__(self, index: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = f"camera:{index}"
        if not _may_exist(index):
            raise ImageError(f"there is no camera {index}; connect it, or choose another number")
        self._clock, self._gone = clock, False
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise ImageError(
                f"camera {index} cannot be opened; check that it is connected, that this program "
                "may use it, and that no other one does"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        usable = 1 <= rate <= 1000
        self.look = Look(rate=Fraction(rate).limit_denominator(1001) if usable else USUAL_RATE)

    def __iter__(self) -> Iterator[Frame]:
        start = None
        while True:
            there, bgr = self._capture.read()
            now = self._clock()
            if not there:
                self._gone = True
                return
            start = now if start is None else start
            pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(pixels, Fraction(now - start))

    def problem(self) -> str | None:
        """What ended the frames, in a sentence."""
        return f"{self.name} gives no more pictures; connect it again" if self._gone else None

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _may_exist(index: int) -> bool:
    """False where it is known without asking OpenCV, which would print warnings of its own."""
    return sys.platform != "linux" or Path(f"/dev/video{index}").exists()
