"""Writing frames as a video with their times, and recognising such a video later."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from mobileyolact.errors import OptionError
from mobileyolact.files import write_beside
from mobileyolact.runtime.video import MATRICES, Frame, Look, load_av

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

ImageArray = npt.NDArray[np.uint8]

# Where H.264 may go, and what FFmpeg calls it.
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
# Stored in what is written here, so that it can be told from a video that somebody took.
MARK = "drawn by mobileyolact"
_LIMITED = 1  # luma from 16 to 235, as AVColorRange counts


@contextmanager
def write_video(path: Path, look: Look) -> Iterator["VideoWriter"]:
    """Write frames as H.264 into a file that appears under its name when it is complete.

    Raises:
        OptionError: PyAV is not installed or has no H.264 encoder, or a suffix that is not in
            ``CONTAINERS``.
        MobileYolactError: the place cannot be written, or the disk is full.
    """
    library = load_av()
    if path.suffix.lower() not in CONTAINERS:
        raise OptionError(f"'{path}' cannot be written; it must end in {', '.join(CONTAINERS)}")
    with write_beside(path) as beside, ExitStack() as stack:
        file = beside.open("wb")
        stack.push(lambda failed, *_: _close(file, failed))
        container = library.open(file, "w", format=CONTAINERS[path.suffix.lower()])
        stack.push(lambda failed, *_: _close(container, failed))
        container.metadata["comment"] = MARK
        writer = VideoWriter(container, look)
        yield writer
        writer.finish()


def _close(resource: Any, failed: object) -> None:
    """Close; after a failure its consequences, such as a full disk again, are not news."""
    with suppress(Exception) if failed else nullcontext():
        resource.close()


class VideoWriter:
    """Frames in, H.264 out; see ``write_video``. The first frame decides the size."""

    def __init__(self, container: "OutputContainer", look: Look) -> None:
        self._container, self._look = container, look
        self._stream: VideoStream | None = None
        self._ticks = -1

    def write(self, frame: Frame) -> None:
        """Add a frame; times must grow, and those that do not are moved by a tick."""
        av = load_av()
        if self._stream is None:
            self._stream = self._start(*frame.pixels.shape[:2])
        picture = av.VideoFrame.from_ndarray(self._fitting(frame.pixels, self._stream), "rgb24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace=MATRICES[self._look.matrix], dst_color_range=_LIMITED
        )
        self._ticks = max(self._ticks + 1, round(frame.time / self._look.time_base))
        picture.pts, picture.time_base = self._ticks, self._look.time_base
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Write what the encoder still holds back."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def _start(self, height: int, width: int) -> "VideoStream":
        av = load_av()
        try:
            stream: VideoStream = self._container.add_stream(
                "h264", rate=self._look.rate, options={"crf": "20", "preset": "veryfast"}
            )
        except av.codec.codec.UnknownCodecError:
            raise OptionError(
                "this build of PyAV cannot write H.264; install it with pip install av"
            ) from None
        codec = stream.codec_context
        # Half as many colours as pixels along each side, so that sides must be even.
        codec.width, codec.height, codec.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        codec.time_base = self._look.time_base
        codec.sample_aspect_ratio = self._look.pixel_ratio
        codec.colorspace, codec.color_range = self._look.matrix, _LIMITED
        codec.color_primaries, codec.color_trc = self._look.primaries, self._look.transfer
        return stream

    @staticmethod
    def _fitting(pixels: ImageArray, stream: "VideoStream") -> ImageArray:
        height, width = pixels.shape[:2]
        right, below = stream.codec_context.width - width, stream.codec_context.height - height
        if (right, below) == (0, 0):
            return pixels
        if right in (0, 1) and below in (0, 1):
            return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
        # A video may change its size on the way.
        size = (stream.codec_context.width, stream.codec_context.height)
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def is_drawn(path: Path) -> bool:
    """Was this video written by ``write_video``?"""
    av = load_av()
    try:
        with path.open("rb") as file, av.open(file, "r", metadata_errors="replace") as container:
            return MARK in container.metadata.values()
    except (av.error.FFmpegError, OSError, ValueError):
        return False
