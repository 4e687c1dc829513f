"""A camera, for which a file stands in: OpenCV reads both through the same object."""

import sys
from fractions import Fraction

import cv2
import pytest

from mobileyolact.errors import ImageError
from mobileyolact.runtime import camera
from mobileyolact.runtime.camera import Camera


@pytest.fixture
def stand_in(tmp_path, monkeypatch, write_frames, moving):
    """A file of 5 frames in place of camera 0."""
    path = write_frames(tmp_path / "camera.avi", moving(5), codec="mjpeg")
    opened = cv2.VideoCapture
    monkeypatch.setattr(camera, "_may_exist", lambda index: True)
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: opened(str(path)))


@pytest.mark.usefixtures("stand_in")
def test_frames_have_the_times_of_the_clock(moving):
    clock = iter([10.0, 10.5, 10.75, 12.0, 12.1, 13.0])
    with Camera(0, lambda: next(clock)) as source:
        assert source.look.rate == 25
        assert source.frames is None
        frames = []
        for frame in source:
            assert source.problem() is None
            frames.append(frame)
        assert "gives no more pictures" in source.problem()
    assert [float(frame.time) for frame in frames] == pytest.approx([0, 0.5, 0.75, 2, 2.1])
    assert isinstance(frames[0].time, Fraction)
    for frame, drawn in zip(frames, moving(5), strict=True):
        assert frame.pixels == pytest.approx(drawn, abs=25)


def test_colours_are_not_swapped(tmp_path, monkeypatch, stand_in, write_frames, moving):
    (red,) = moving(1)
    red[:] = (220, 40, 30)
    write_frames(tmp_path / "camera.avi", [red], codec="mjpeg")
    with Camera(0) as source:
        assert next(iter(source)).pixels[5, 5] == pytest.approx([220, 40, 30], abs=8)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenCV has to be asked")
def test_a_camera_that_is_not_there(capfd):
    with pytest.raises(ImageError, match="there is no camera 9876"):
        Camera(9876)
    assert capfd.readouterr() == ("", "")


def test_a_camera_that_does_not_open(tmp_path, monkeypatch):
    opened = cv2.VideoCapture
    monkeypatch.setattr(camera, "_may_exist", lambda index: True)
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: opened(str(tmp_path / "none.avi")))
    with pytest.raises(ImageError, match="camera 0 cannot be opened"):
        Camera(0)
