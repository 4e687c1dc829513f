"""Videos, frame by frame: upright pictures with their times.

Needs PyAV (the extra ``video``), which is imported when a video is opened, not before.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobileyolact.errors import ImageError, OptionError
from mobileyolact.runtime.image import MAX_PIXELS, check_size, open_file

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

ImageArray = npt.NDArray[np.uint8]

USUAL_RATE = Fraction(30)
# As AVColorSpace counts matrices; swscale knows these under the names on the right.
MATRICES = {1: "itu709", 2: "itu601", 5: "itu601", 6: "itu601", 9: "bt2020"}
_BT709 = 1


class Frame(NamedTuple):
    """A picture (H, W, 3) uint8 RGB, writable, and its time in seconds after the first one."""

    pixels: ImageArray
    time: Fraction


@dataclass(frozen=True)
class Look:
    """What a copy of a video has in common with it.

    Args:
        rate: frames a second, on average.
        time_base: seconds a tick; times of frames are multiples of it.
        pixel_ratio: width of a pixel over its height.
        matrix: of YUV, as FFmpeg's AVColorSpace counts; primaries and transfer likewise.
        primaries: see ``matrix``.
        transfer: see ``matrix``.
    """

    rate: Fraction = USUAL_RATE
    time_base: Fraction = Fraction(1, 90_000)
    pixel_ratio: Fraction = Fraction(1)
    matrix: int = _BT709
    primaries: int = _BT709
    transfer: int = _BT709


class VideoReader:
    """The frames of a video file, upright, one at a time; iterate once.

    Sound is left out. Frames that cannot be decoded are left out too, and counted: see
    ``problem``.

    Args:
        path: of the file.
        max_pixels: larger frames are refused.

    Raises:
        ImageError: missing, not a video, damaged beyond its first frame, or too large.
        OptionError: PyAV is not installed.
    """

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        self._av = load_av()
        self.name, self._damaged, self._read = str(path), 0, 0
        self._ended, self._shift = False, Fraction(0)
        self._last = self._longest = Fraction(0)
        with ExitStack() as stack:
            self._container = stack.enter_context(self._open(Path(path)))
            if not self._container.streams.video:
                raise ImageError(f"{path} holds sound or text, but no pictures")
            self._stream: VideoStream = self._container.streams.video[0]
            codec = self._stream.codec_context
            check_size(codec.height, codec.width, f"a frame of {path}", max_pixels)
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise ImageError(f"{path} holds no frame that can be decoded; copy it again")
            self.look = self._look(self._first)
            self._seconds = self._duration()
            self.frames = self._stream.frames or round(self._seconds * self.look.rate) or None
            self._close = stack.pop_all().close

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        if first is not None:
            yield self._frame(first)
        for frame in self._decoded:
            yield self._frame(frame)
        self._ended = True

    def problem(self) -> str | None:
        """What was wrong with the part that has been read, in a sentence."""
        if self._damaged:
            return f"{self.name} is damaged; frames that are spoilt or missing: {self._damaged}"
        if self._ended and self._is_short():
            return f"{self.name} ends after {self._read} of {self.frames} frames; copy it again"
        return None

    def _is_short(self) -> bool:
        if self._stream.frames:  # an exact count, of which an edit may hide a few
            return self._read < 0.95 * self._stream.frames - 2
        rest = self._seconds - self._last
        return rest > self._seconds / 10 and rest > 3 * self._longest

    def close(self) -> None:
        """Close the file."""
        self._close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _open(self, path: Path) -> Iterator["InputContainer"]:
        with open_file(path, "video") as file:
            # An opened file, because FFmpeg would read a colon in a name as a protocol.
            try:
                container = self._av.open(file, "r", metadata_errors="replace")
            except (self._av.error.FFmpegError, OSError, ValueError):
                raise ImageError(f"{path} is damaged, or no video that FFmpeg knows") from None
            with container:
                yield container

    def _decode(self) -> Iterator["VideoFrame"]:
        errors = self._av.error.FFmpegError
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except errors:
                self._damaged += 1
                packet = None
            try:
                # Without a packet the decoder gives what it still holds back.
                frames = self._stream.decode(packet) if packet is not None else self._flush()
            except errors:
                self._damaged += 1
                frames = []
            for frame in frames:
                self._damaged += frame.is_corrupt
                yield frame
            if packet is None:
                return

    def _flush(self) -> list["VideoFrame"]:
        with suppress(self._av.error.EOFError):  # flushed already, by demux's own last packet
            return self._stream.decode(None)
        return []

    def _frame(self, frame: "VideoFrame") -> Frame:
        pixels = frame.to_ndarray(format="rgb24")
        pixels = np.rot90(pixels, round(frame.rotation / 90))
        time = self._time(frame)
        self._read += 1
        return Frame(np.require(pixels, np.uint8, ["C", "W"]), time)

    def _time(self, frame: "VideoFrame") -> Fraction:
        """Times start at 0 and grow; where the file's do not, a frame follows at the usual rate."""
        following = self._last + 1 / self.look.rate if self._read else Fraction(0)
        if frame.pts is None:
            time = following
        else:
            written = frame.pts * (frame.time_base or self.look.time_base)
            if self._read == 0 or written + self._shift <= self._last:
                self._shift = following - written
            time = written + self._shift
        self._longest = max(self._longest, time - self._last)
        self._last = time
        return time

    def _look(self, frame: "VideoFrame") -> Look:
        rate = self._stream.average_rate or self._stream.guessed_rate or USUAL_RATE
        ratio = self._stream.sample_aspect_ratio or Fraction(1)
        known = frame.colorspace in MATRICES
        return Look(
            rate=Fraction(rate) if 0 < rate <= 1000 else USUAL_RATE,
            time_base=Fraction(frame.time_base or Look.time_base),
            pixel_ratio=1 / ratio if round(frame.rotation / 90) % 2 else ratio,
            matrix=frame.colorspace if known else _BT709,
            primaries=frame.color_primaries,
            transfer=frame.color_trc,
        )

    def _duration(self) -> Fraction:
        """Of the stream in seconds, as the file says; 0 where it does not."""
        if self._stream.duration:
            return self._stream.duration * (self._stream.time_base or Fraction(0))
        # Of several streams, another one may be the longest.
        if self._container.duration and len(self._container.streams) == 1:
            return Fraction(self._container.duration, self._av.time_base)
        return Fraction(0)


def load_av() -> Any:
    """The module ``av``.

    Raises:
        OptionError: it is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError:
        raise OptionError(
            "videos need PyAV, which this environment lacks; "
            "install the extra 'video': pip install 'mobileyolact[video]'"
        ) from None
    return av
