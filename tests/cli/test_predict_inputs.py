"""Whatever a user may throw at ``predict``: it works, or one line says why and the rest go on."""

import hashlib
import io
import json
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mobileyolact.cli import app

pytestmark = pytest.mark.usefixtures("one_cat")

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8))
DEEP = np.random.default_rng(1).integers(0, 65536, (45, 60, 3), dtype=np.uint16)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def animation(path: Path) -> None:
    RGB.save(path, save_all=True, append_images=[RGB.rotate(180)] * 2)


def write_deep(path: Path) -> None:
    path.write_bytes(cv2.imencode(path.suffix, DEEP)[1].tobytes())


# Name, who writes it, and (height, width) of the result.
GOOD: list[tuple[str, Callable[[Path], object], tuple[int, int]]] = [
    ("grey.png", lambda p: RGB.convert("L").save(p), (45, 60)),
    ("one bit.png", lambda p: RGB.convert("1").save(p), (45, 60)),
    ("grey with alpha.png", lambda p: RGB.convert("LA").save(p), (45, 60)),
    ("rgba.png", lambda p: RGB.convert("RGBA").save(p), (45, 60)),
    ("deep grey.png", lambda p: Image.fromarray(DEEP[:, :, 0]).save(p), (45, 60)),
    ("deep grey.tif", lambda p: Image.fromarray(DEEP[:, :, 0]).save(p), (45, 60)),
    ("deep.png", write_deep, (45, 60)),
    ("deep.tiff", write_deep, (45, 60)),
    ("cmyk.jpg", lambda p: RGB.convert("CMYK").save(p), (45, 60)),
    ("palette.png", lambda p: RGB.quantize(16).save(p), (45, 60)),
    ("clear palette.png", lambda p: RGB.quantize(16).save(p, transparency=3), (45, 60)),
    ("animation.gif", animation, (45, 60)),
    ("animation.webp", animation, (45, 60)),
    ("turned.jpg", lambda p: RGB.save(p, exif=exif(6)), (60, 45)),
    ("mirrored.png", lambda p: RGB.save(p, exif=exif(5)), (60, 45)),
    ("spoilt exif.jpg", lambda p: RGB.save(p, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), (45, 60)),
    ("one pixel.png", lambda p: RGB.resize((1, 1)).save(p), (1, 1)),
    ("thin.png", lambda p: RGB.resize((1, 5000)).save(p), (5000, 1)),
    ("flat.jpg", lambda p: RGB.resize((5000, 1)).save(p), (1, 5000)),
    ("ünïcode 日本 😀 :heart: [b].png", RGB.save, (45, 60)),
    ("x" * 251 + ".png", RGB.save, (45, 60)),
    ("é" * 125 + ".tif", RGB.save, (45, 60)),
    ("no suffix", lambda p: RGB.save(p, "PNG"), (45, 60)),
    ("misnamed.png", lambda p: RGB.save(p, "JPEG"), (45, 60)),
]


def bomb(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", b""), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def truncated(path: Path) -> None:
    file = io.BytesIO()
    RGB.resize((600, 450)).save(file, Image.registered_extensions()[path.suffix])
    path.write_bytes(file.getvalue()[: len(file.getvalue()) // 2])


# Name, who makes it, and a part of the line that says what is wrong.
BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("bomb.png", bomb, "is too large"),
    ("truncated.jpg", truncated, "is damaged"),
    ("truncated.png", truncated, "is damaged"),
    ("truncated.webp", truncated, ""),
    ("truncated.tif", truncated, ""),
    ("truncated.gif", truncated, "is damaged"),
    ("empty.jpg", Path.touch, "0 bytes"),
    ("text.jpg", lambda p: p.write_text("hello"), "is not a picture"),
    ("two\nlines.jpg", lambda p: p.write_text("hello"), r"two\nlines.jpg is not a picture"),
    ("folder.jpg", Path.mkdir, "holds no picture"),
    ("broken.jpg", lambda p: p.symlink_to("nowhere"), "leads nowhere"),
    ("loop.jpg", lambda p: p.symlink_to(p.name), "symbolic links"),
    ("missing.jpg", lambda p: None, "there is no file"),
    ("x" * 300 + ".jpg", lambda p: None, "name too long"),
    ("film.mp4", lambda p: p.write_text("hello"), "no video that FFmpeg knows"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def digests(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in files}


def check_ended(result: Any, code: int) -> list[str]:
    """The lines on standard error of a run that ended with ``code`` and without a traceback."""
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code == code, result.output
    return result.stderr.splitlines()


@pytest.mark.parametrize(("name", "write", "size"), GOOD, ids=[name[:25] for name, *_ in GOOD])
def test_it_works(
    name: str,
    write: Callable[[Path], object],
    size: tuple[int, int],
    folder: Path,
    tmp_path: Path,
    runner: CliRunner,
) -> None:
    write(folder / name)
    before = digests(folder)
    args = ["predict", str(folder / name), "-o", str(tmp_path / "out")]
    lines = check_ended(runner.invoke(app, args), 0)
    if "animation" in name:
        assert len(lines) == 1
        assert lines[0].startswith("note: ")
        assert "only the first is taken" in lines[0]
    else:
        assert lines == []
    (target,) = (tmp_path / "out").iterdir()
    with Image.open(target) as picture:
        assert picture.size == size[::-1]
        assert picture.mode == "RGB"
    assert digests(folder) == before


@pytest.mark.parametrize(("name", "make", "message"), BAD, ids=[name[:25] for name, *_ in BAD])
def test_one_line_and_the_rest_go_on(
    name: str,
    make: Callable[[Path], object],
    message: str,
    folder: Path,
    tmp_path: Path,
    runner: CliRunner,
) -> None:
    if name.endswith(".mp4"):
        pytest.importorskip("av", reason="videos need PyAV, the extra 'video'")
    make(folder / name)
    for good in ("a.png", "z.png"):
        RGB.save(folder / good)
    sources = [str(folder / n) for n in ("a.png", name, "z.png")]
    result = runner.invoke(app, ["predict", *sources, "-o", str(tmp_path / "out")])
    (line,) = check_ended(result, 1)
    assert line.startswith("error: ")
    assert message in line
    assert digests(tmp_path / "out").keys() == {"a.png", "z.png"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_picture_that_may_not_be_read(folder: Path, tmp_path: Path, runner: CliRunner) -> None:
    for name in ("a.png", "b.png"):
        RGB.save(folder / name)
    (folder / "a.png").chmod(0)
    result = runner.invoke(app, ["predict", str(folder), "-o", str(tmp_path / "out")])
    (line,) = check_ended(result, 1)
    assert "a.png: Permission denied" in line
    assert digests(tmp_path / "out").keys() == {"b.png"}


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes are a matter of Linux")
def test_a_name_that_is_not_unicode(folder: Path, tmp_path: Path, runner: CliRunner) -> None:
    name = os.fsdecode(b"n\xff.png")
    RGB.save(folder / name)
    file = tmp_path / "found.json"
    args = ["predict", str(folder), "-o", str(tmp_path / "out"), "--json", str(file)]
    result = runner.invoke(app, args)
    assert check_ended(result, 0) == []
    assert r"n\udcff.png" in result.stdout
    assert digests(tmp_path / "out").keys() == {name}
    (image,) = json.loads(file.read_text(encoding="utf-8"))["images"]
    assert Path(image["source"]) == folder / name


def test_an_ascii_terminal(folder: Path, tmp_path: Path) -> None:
    RGB.save(folder / "日本.png")
    ascii_runner = CliRunner(charset="ascii")
    args = ["predict", str(folder / "日本.png"), "-o", str(tmp_path / "out")]
    result = ascii_runner.invoke(app, args)
    assert check_ended(result, 0) == []
    assert r"\u65e5\u672c.png" in result.stdout


def test_pictures_of_one_name(folder: Path, tmp_path: Path, runner: CliRunner) -> None:
    (folder / "sub").mkdir()
    for path in (folder / "a.jpg", folder / "a.png", folder / "sub" / "a.png"):
        RGB.save(path)
    sources = [str(folder), str(folder / "sub")]
    result = runner.invoke(app, ["predict", *sources, "-o", str(tmp_path / "out")])
    assert check_ended(result, 0) == []
    assert digests(tmp_path / "out").keys() == {"a.jpg", "a.png", "a-2.png"}


@pytest.mark.parametrize("pattern", ["", "**/*"])
@pytest.mark.parametrize("output", [".", "out"])
def test_a_second_run_gives_the_same(
    output: str, pattern: str, folder: Path, runner: CliRunner
) -> None:
    for name in ("a.jpg", "b.png"):
        RGB.save(folder / name)
    before = digests(folder)
    args = ["predict", str(folder / pattern), "-o", str(folder / output)]
    assert check_ended(runner.invoke(app, args), 0) == []
    first = digests(folder / output)
    assert len(first) == (4 if output == "." else 2)
    assert check_ended(runner.invoke(app, args), 0) == []
    assert digests(folder / output) == first
    assert before.items() <= digests(folder).items()


def test_json_does_not_overwrite_a_picture(folder: Path, tmp_path: Path, runner: CliRunner) -> None:
    RGB.save(folder / "a.png")
    before = digests(folder)
    args = ["predict", str(folder), "-o", str(tmp_path / "out"), "--json", str(folder / "a.png")]
    (line,) = check_ended(runner.invoke(app, args), 2)
    assert "--json" in line
    assert digests(folder) == before


def test_a_picture_that_the_format_does_not_take(
    folder: Path, tmp_path: Path, runner: CliRunner
) -> None:
    RGB.resize((20_000, 2)).save(folder / "wide.png")
    args = ["predict", str(folder / "wide.png"), "-o", str(tmp_path / "out" / "wide.webp")]
    (line,) = check_ended(runner.invoke(app, args), 1)
    assert "as WEBP" in line
    assert list((tmp_path / "out").iterdir()) == []
