"""Reading and writing videos: times, sizes, colours, damage."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mobileyolact.errors import ImageError, MobileYolactError, OptionError
from mobileyolact.runtime.video import Frame, Look, VideoReader
from mobileyolact.runtime.video_writer import is_drawn, write_video

av = pytest.importorskip("av", reason="videos need PyAV, the extra 'video'")

# Frames that do not come evenly, as from a phone in the dark.
TICKS = (0, 20, 41, 100, 119, 180, 400, 420)
TICK = Fraction(1, 600)


def read(path):
    with VideoReader(path) as reader:
        return list(reader), reader


def copy(source, target):
    with VideoReader(source) as reader, write_video(target, reader.look) as writer:
        for frame in reader:
            writer.write(frame)
    return target


def left_of_bar(pixels):
    return int(np.flatnonzero(pixels[pixels.shape[0] // 2, :, 1] > 150)[0])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_keep_their_order_and_their_uneven_times(suffix, tmp_path, write_frames, moving):
    source = write_frames(tmp_path / "in.mp4", moving(8), TICKS, TICK)
    frames, _ = read(source)
    assert [frame.time for frame in frames] == [tick * TICK for tick in TICKS]
    copied, reader = read(copy(source, tmp_path / f"out{suffix}"))
    # Matroska counts milliseconds.
    tolerance = 0.001 if suffix == ".mkv" else 0
    for number, frame in enumerate(copied):
        assert abs(frame.time - TICKS[number] * TICK) <= tolerance
        assert left_of_bar(frame.pixels) == pytest.approx(8 * number, abs=1)
        assert frame.pixels.flags.writeable
        assert frame.pixels.flags.c_contiguous
    assert len(copied) == 8
    assert reader.problem() is None


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "mpeg4"), (".webm", "libvpx"), (".avi", "mpeg4"), (".ts", "libx264")],
)
def test_common_formats_are_read(suffix, codec, tmp_path, write_frames, moving):
    frames, reader = read(write_frames(tmp_path / f"in{suffix}", moving(10), codec=codec))
    times = [float(frame.time) for frame in frames]
    assert times == pytest.approx(np.arange(10) / 25, abs=0.001)
    assert float(reader.look.rate) == pytest.approx(25, abs=1.5)
    # FFmpeg leaves the last frame out where it reckons a stream's length from its times.
    assert reader.frames in ((9, 10) if suffix == ".ts" else (10,))


@pytest.mark.parametrize("matrix", [1, 2, 6])
def test_colours_come_out_as_they_went_in(matrix, tmp_path, write_frames):
    patches = np.zeros((64, 96, 3), np.uint8)
    for column, colour in enumerate([(250, 20, 20), (20, 230, 20), (30, 30, 240), (200, 180, 40)]):
        patches[:, 24 * column : 24 * column + 24] = colour
    source = write_frames(tmp_path / "in.mp4", [patches] * 3, matrix=matrix, crf="5")
    frames, reader = read(source)
    assert reader.look.matrix == matrix
    centres = (slice(None), slice(12, None, 24))
    assert frames[0].pixels[centres].astype(int) == pytest.approx(patches[centres], abs=6)
    target = copy(source, tmp_path / "out.mp4")
    planes = []
    for path in (source, target):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            assert frame.colorspace == matrix
            planes.append(frame.to_ndarray(format="yuv420p").astype(int))
    # What a player gets to see before it applies whatever rule it has for such a file.
    assert np.abs(planes[0] - planes[1]).mean() < 1.5


def test_sides_become_even(tmp_path, moving):
    target = tmp_path / "out.mp4"
    with write_video(target, Look()) as writer:
        for number, pixels in enumerate(moving(3, width=33, height=17)):
            writer.write(Frame(pixels, Fraction(number, 25)))
    frames, _ = read(target)
    assert [frame.pixels.shape for frame in frames] == [(18, 34, 3)] * 3
    assert [left_of_bar(frame.pixels) for frame in frames] == pytest.approx([0, 8, 16], abs=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_tiny_frames(size, tmp_path):
    target = tmp_path / "out.mp4"
    with write_video(target, Look()) as writer:
        writer.write(Frame(np.full((*size, 3), 200, np.uint8), Fraction(0)))
    (frame,), _ = read(target)
    assert frame.pixels.shape == (*(side + side % 2 for side in size), 3)
    assert frame.pixels == pytest.approx(200, abs=5)


def test_a_frame_of_another_size_is_fitted(tmp_path, moving):
    with write_video(tmp_path / "out.mp4", Look()) as writer:
        writer.write(Frame(moving(1)[0], Fraction(0)))
        writer.write(Frame(moving(1, width=192, height=128)[0], Fraction(1, 25)))
    frames, _ = read(tmp_path / "out.mp4")
    assert [frame.pixels.shape for frame in frames] == [(64, 96, 3)] * 2


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_phone_gives_upright_frames(degrees, tmp_path, write_frames):
    corner = np.full((64, 96, 3), 40, np.uint8)
    corner[:16, :16] = 230
    path = tmp_path / "in.mp4"
    write_frames(path, [corner] * 2, rotation=degrees, pixel_ratio=Fraction(4, 3))
    (frame, _), reader = read(path)
    upright = np.rot90(corner, degrees // 90)  # counter-clockwise, as FFmpeg counts
    assert frame.pixels.shape == upright.shape
    assert np.abs(frame.pixels.astype(int) - upright).mean() < 4
    assert reader.look.pixel_ratio == (Fraction(4, 3) if degrees == 180 else Fraction(3, 4))
    _, copied = read(copy(path, tmp_path / "out.mp4"))
    assert copied.look.pixel_ratio == reader.look.pixel_ratio


def test_times_grow_where_a_recording_starts_anew(tmp_path, write_frames, moving):
    path = write_frames(tmp_path / "in.ts", moving(10))
    path.write_bytes(path.read_bytes() * 2)
    times = [frame.time for frame in read(path)[0]]
    assert len(times) == 20
    assert np.diff(times).astype(float) == pytest.approx(1 / 25, abs=0.001)


def test_what_cannot_be_decoded_is_left_out_and_counted(tmp_path, write_frames, moving):
    path = write_frames(tmp_path / "in.avi", moving(50), codec="mpeg4")
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for place in noise.integers(len(data) // 3, len(data) * 2 // 3, 60):
        data[place] ^= 0xFF
    path.write_bytes(data)
    frames, reader = read(path)
    assert 25 < len(frames) <= 50
    assert "is damaged; frames that are spoilt or missing: " in reader.problem()


@pytest.mark.parametrize(("name", "movflags"), [("in.mp4", "faststart"), ("in.mkv", "")])
def test_a_video_that_was_cut_off_gives_its_beginning(
    name, movflags, tmp_path, write_frames, moving
):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 96, 3), dtype=np.uint8)
    path = write_frames(tmp_path / name, list(noise), **{"movflags": movflags} if movflags else {})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames, reader = read(path)
    assert 10 < len(frames) < 30
    assert "spoilt or missing" in reader.problem() or "of 40 frames" in reader.problem()
    with VideoReader(path) as reader:
        next(iter(reader))
        assert reader.problem() is None, "who stops early has not seen the end"


def no_pictures(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def no_index(path):
    path.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(5000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no video"),
        (lambda path: path.touch(), "is empty, a file of 0 bytes"),
        (lambda path: path.write_text("hello " * 100), "no video that FFmpeg knows"),
        (lambda path: path.mkdir(), "is a folder"),
        (no_index, "no video that FFmpeg knows"),
        (no_pictures, "but no pictures"),
    ],
)
def test_what_is_no_video_is_one_sentence(make, message, tmp_path):
    path = tmp_path / "in.mp4"
    make(path)
    with pytest.raises(ImageError, match=message) as raised:
        VideoReader(path)
    assert "\n" not in str(raised.value)


def test_frames_of_too_many_pixels_are_refused(tmp_path, write_frames, moving):
    path = write_frames(tmp_path / "in.mp4", moving(2))
    with pytest.raises(ImageError, match="has 96x64 pixels, more than the limit of 6143"):
        VideoReader(path, max_pixels=96 * 64 - 1)


@pytest.mark.parametrize("name", ["12:30.mp4", "http:.mp4", "%03d.mp4", "ünïcode 日本.mp4"])
def test_odd_names(name, tmp_path, write_frames, moving):
    path = write_frames(tmp_path / "plain.mp4", moving(2)).rename(tmp_path / name)
    assert len(read(copy(path, tmp_path / f"copy of {name}"))[0]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes are a matter of Linux")
def test_a_name_that_is_not_unicode(tmp_path, write_frames, moving):
    path = write_frames(tmp_path / "plain.mp4", moving(2)).rename(tmp_path / os.fsdecode(b"\xff"))
    assert len(read(path)[0]) == 2


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, moving):
    target = tmp_path / "out.mp4"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), write_video(target, Look()) as writer:
        writer.write(Frame(moving(1)[0], Fraction(0)))
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(MobileYolactError, match="cannot write"),
        write_video(tmp_path / "file" / "out.mp4", Look()),
    ):
        pass
    with pytest.raises(OptionError, match=r"must end in \.mp4"), write_video(Path("a.gif"), Look()):
        pass


def test_what_was_drawn_is_recognised(tmp_path, write_frames, moving):
    source = write_frames(tmp_path / "in.mp4", moving(2))
    assert not is_drawn(source)
    assert is_drawn(copy(source, tmp_path / "out.mp4"))
    assert is_drawn(copy(source, tmp_path / "out.mkv"))
    (tmp_path / "text.mp4").write_text("text")
    assert not is_drawn(tmp_path / "text.mp4")


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(OptionError, match=r"pip install 'mobileyolact\[video\]'"):
        VideoReader(tmp_path / "in.mp4")


GROWTH = """
import resource, sys
from pathlib import Path
from mobileyolact.runtime.video import VideoReader
from mobileyolact.runtime.video_writer import write_video


def peak(path):
    with VideoReader(path) as reader, write_video(Path(sys.argv[3]), reader.look) as writer:
        for frame in reader:
            writer.write(frame)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


short = peak(sys.argv[1])
print(peak(sys.argv[2]) - short)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts otherwise elsewhere")
def test_memory_does_not_grow_with_the_length(tmp_path, write_frames, moving):
    frames = moving(20, width=320, height=240)
    short = write_frames(tmp_path / "short.mp4", frames * 5)
    long = write_frames(tmp_path / "long.mp4", frames * 50)  # 230 MB of pixels
    command = [sys.executable, "-c", GROWTH, short, long, tmp_path / "out.mp4"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 40
