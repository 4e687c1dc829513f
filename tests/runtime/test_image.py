import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mobileyolact.errors import ImageError
from mobileyolact.runtime import image as image_module
from mobileyolact.runtime.image import open_image, open_reduced

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


def saved(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_every_kind_of_source_gives_the_same_picture(tmp_path):
    picture = Image.fromarray(RGB)
    path = tmp_path / "ünïcode name.png"
    picture.save(path)
    for source in (RGB, picture, path, str(path), path.read_bytes()):
        opened = open_image(source)
        assert opened.dtype == np.uint8
        assert opened.flags.c_contiguous
        assert np.array_equal(opened, RGB)


def test_an_array_in_the_right_form_is_not_copied():
    assert np.shares_memory(open_image(RGB), RGB)
    flipped = open_image(RGB[:, ::-1])
    assert flipped.flags.c_contiguous
    assert np.array_equal(flipped, RGB[:, ::-1])


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(RGB), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(open_image(data), np.asarray(expected))
    assert open_image(data).shape[:2] == ((9, 6) if 5 <= orientation <= 8 else (6, 9))


def test_damaged_exif_does_not_spoil_the_picture():
    data = saved(Image.fromarray(RGB), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert np.array_equal(open_image(data), RGB)


@pytest.mark.parametrize("array", [GREY, GREY[:, :, None], GREY.astype(np.uint16) * 257])
def test_grey_arrays(array):
    assert np.array_equal(open_image(array), np.stack([GREY] * 3, axis=2))


def test_grey_files_of_every_depth():
    expected = np.stack([GREY] * 3, axis=2)
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert np.array_equal(open_image(saved(Image.fromarray(GREY))), expected)
    assert np.array_equal(open_image(saved(deep)), expected)
    assert np.array_equal(open_image(saved(deep, "TIFF")), expected)
    assert np.array_equal(open_image(Image.fromarray(GREY.astype(np.int32) * 257)), expected)
    bits = GREY > 127
    assert np.array_equal(open_image(saved(Image.fromarray(bits)))[:, :, 1], bits * 255)
    assert np.array_equal(open_image(bits)[:, :, 1], bits * 255)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits(suffix, channels):
    bgr = np.random.default_rng(1).integers(0, 65536, (6, 9, channels), dtype=np.uint16)
    bgr[..., 3:] = 65535
    opened = open_image(cv2.imencode(suffix, bgr)[1].tobytes())
    assert opened == pytest.approx(bgr[:, :, 2::-1] / 257, abs=1)


def test_float_and_wide_pictures_are_stretched_from_darkest_to_brightest():
    ramp = np.linspace(-3, 5, 9, dtype=np.float32)[None].repeat(4, axis=0)
    expected = np.round(np.linspace(0, 65535, 9) / 257)
    assert open_image(saved(Image.fromarray(ramp), "TIFF"))[0, :, 0] == pytest.approx(expected)
    wide = Image.fromarray((ramp * 1_000_000).astype(np.int32))
    assert open_image(wide)[0, :, 0] == pytest.approx(expected, abs=1)
    assert not open_image(Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32))).any()


def test_transparency_lies_over_white():
    alpha = np.zeros((6, 9, 1), dtype=np.uint8)
    alpha[:, 3:], alpha[:, 6:] = 255, 51
    rgba = np.concatenate([RGB, alpha], axis=2)
    for source in (rgba, saved(Image.fromarray(rgba))):
        opened = open_image(source)
        assert (opened[:, :3] == 255).all()
        assert np.array_equal(opened[:, 3:6], RGB[:, 3:6])
        assert opened[:, 6:] == pytest.approx(RGB[:, 6:] * 0.2 + 255 * 0.8, abs=0.51)


def test_palettes_with_and_without_transparency():
    palette = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(open_image(saved(palette)), np.asarray(palette.convert("RGB")))
    palette.info["transparency"] = 0
    hidden = np.asarray(palette) == 0
    assert (open_image(saved(palette, transparency=0))[hidden] == 255).all()


def test_each_colour_of_a_palette_has_its_own_transparency():
    palette = Image.fromarray(RGB).quantize(4)
    alphas = bytes([0, 255, 51, 255])
    alpha = np.frombuffer(alphas, np.uint8)[np.asarray(palette)][:, :, None] / 255
    expected = np.asarray(palette.convert("RGB")) * alpha + 255 * (1 - alpha)
    assert open_image(saved(palette, transparency=alphas)) == pytest.approx(expected, abs=0.51)


def test_grey_with_transparency_lies_over_white():
    alpha = np.where(GREY > 127, 255, 102).astype(np.uint8)
    expected = (GREY * (alpha / 255.0) + 255 - alpha)[:, :, None].repeat(3, axis=2)
    opened = open_image(saved(Image.fromarray(np.stack([GREY, alpha], axis=2))))
    assert opened == pytest.approx(expected, abs=0.51)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LA", "RGBX", "La", "RGBa"])
def test_other_modes_of_pillow(mode):
    start = Image.fromarray(RGB).convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB"))
    opened = open_image(start.convert(mode))
    assert opened.shape == RGB.shape
    # HSV and YCbCr round in their own units.
    expected = start.convert("L" if mode == "LA" else "RGB").convert("RGB")
    assert np.abs(opened.astype(int) - np.asarray(expected)).max() <= 12


def test_lab_and_cmyk_files():
    grey = Image.new("LAB", (4, 3), (128, 128, 128))
    assert open_image(saved(grey, "TIFF")) == pytest.approx(119, abs=3)
    cmyk = saved(Image.new("CMYK", (4, 3), (255, 0, 0, 0)), "JPEG")
    assert open_image(cmyk)[0, 0] == pytest.approx([0, 255, 255], abs=3)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert open_image(data)[0, 0] == pytest.approx([255, 0, 0], abs=2)


def test_other_frames_are_mentioned_once():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for format, count in (("GIF", 1), ("WEBP", 1), ("PNG", 1), ("TIFF", 1), ("MPO", 0)):
        notes: list[str] = []
        data = saved(frames[0], format, save_all=True, append_images=frames[1:])
        open_image(data, note=notes.append)
        open_image(saved(frames[0], "JPEG" if format == "MPO" else format), note=notes.append)
        assert len(notes) == count, format
        assert all("several frames; only the first is taken" in note for note in notes)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"]
)
def test_large_pictures_are_converted_a_few_rows_at_a_time(mode, monkeypatch):
    values = np.random.default_rng(2).integers(0, 60000, (7, 9))
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Image.fromarray(values.astype(kind))
    elif mode == "LAB":
        picture = Image.fromarray(RGB).resize((9, 7))
        picture = Image.merge("LAB", picture.split())
    else:
        picture = Image.fromarray(RGB).resize((9, 7)).convert(mode)
    assert picture.mode == mode
    at_once = open_image(picture)
    monkeypatch.setattr(image_module, "_STRIP_PIXELS", 20)
    assert np.array_equal(open_image(picture), at_once)
    assert at_once.std() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_pictures(size):
    values = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(open_image(saved(Image.fromarray(values))), values)


def test_truncated_and_foreign_files_are_clear_errors(tmp_path):
    data = saved(Image.fromarray(RGB.repeat(30, axis=0)), "JPEG")
    whole = len(data)
    for end in (0, 1, 10, whole // 2, whole - 20):
        with pytest.raises(ImageError, match=r"damaged|not a picture"):
            open_image(data[:end])
    path = tmp_path / "notes.jpg"
    path.write_text("these are notes")
    with pytest.raises(ImageError, match=r"notes\.jpg is not a picture"):
        open_image(path)


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(ImageError, match="there is no picture"):
        open_image("nowhere.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        open_image("/")
    with pytest.raises(ImageError, match="cannot read"):
        open_image("a\0b")
    with pytest.raises(ImageError, match="cannot read"):
        open_image("a" * 5000)
    with pytest.raises(ImageError, match="from int"):
        open_image(3)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ImageError, match="the link .* leads nowhere"):
        open_image(tmp_path / "link")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ImageError, match="cannot read"):
        open_image(tmp_path / "loop")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match="is empty, a file of 0 bytes"):
        open_image(tmp_path / "empty.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a matter of Unix")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path(os.devnull)):
        with pytest.raises(ImageError, match="a device or a pipe"):
            open_image(path)


def test_what_the_system_refuses(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "secret.png")

    (tmp_path / "secret.png").write_bytes(saved(Image.fromarray(RGB)))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"cannot read .*secret\.png: Permission denied$"):
        open_image(tmp_path / "secret.png")


def png_header(width, height):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_bombs_are_refused_before_they_are_decoded():
    for side in (10_001, 60_000):
        with pytest.raises(ImageError, match=r"too large|more than the limit"):
            open_image(png_header(side, side))
    with pytest.raises(ImageError, match="has 9x6 pixels, more than the limit of 53"):
        open_image(RGB, max_pixels=53)
    assert open_image(RGB, max_pixels=54).shape == (6, 9, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.array([["a"]]),
    ],
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(ImageError):
        open_image(array)


def smooth(height, width):
    """A picture in which every place has its own colour, so that blocks have mean colours."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 120 + 0 * x], axis=2).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_large_jpeg_is_read_at_a_part_of_its_size(options, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(smooth(403, 806)), "JPEG", quality=95, exif=exif, **options)
    whole = open_image(data)
    height, width = whole.shape[:2]
    least = (100, 200) if orientation < 5 else (200, 100)
    for divisor, factor in ((1, 4), (2, 8), (0.6, 2), (0.4, 1)):
        picture = open_reduced(data, tuple(round(side / divisor) for side in least))
        assert (picture.height, picture.width, picture.factor) == (height, width, factor)
        assert picture.pixels.shape[:2] == (-(-height // factor), -(-width // factor))
        assert picture.pixels.flags.c_contiguous
        if orientation == 1:  # else the cut blocks lie at the beginning
            rows, columns = height // factor, width // factor
            blocks = whole[: rows * factor, : columns * factor]
            means = blocks.reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
            assert np.abs(picture.pixels[:rows, :columns] - means).max() < 6


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours_are_reduced_too(mode):
    data = saved(Image.fromarray(smooth(403, 806)).convert(mode), "JPEG", quality=95)
    picture = open_reduced(data, (100, 200))
    assert picture.factor == 4
    samples = open_image(data)[2::4, 2::4].astype(int)
    assert np.abs(picture.pixels[: len(samples), : samples.shape[1]] - samples).max() < 8


def test_what_is_no_large_jpeg_is_read_as_it_is(tmp_path):
    picture = Image.fromarray(smooth(403, 806))
    path = tmp_path / "large.png"
    picture.save(path)
    for source in (path, picture, np.asarray(picture), saved(picture, "WEBP", lossless=True)):
        reduced = open_reduced(source, (10, 10))
        assert (reduced.height, reduced.width, reduced.factor) == (403, 806, 1)
        assert np.array_equal(reduced.pixels, np.asarray(picture))


def test_the_limit_is_one_of_the_whole_picture():
    data = saved(Image.fromarray(smooth(403, 806)), "JPEG")
    with pytest.raises(ImageError, match="806x403 pixels, more than the limit"):
        open_reduced(data, (10, 10), max_pixels=403 * 806 - 1)
    with pytest.raises(ImageError, match="is damaged"):
        open_reduced(data[: len(data) // 2], (10, 10))
