"""Do model files compute on Arm what they compute here? Both run, and their tensors are compared.

    python scripts/arm.py MODEL [MODEL ...] --cache DIR [--cpu NAME] [--picture FILE]

MODEL is NAME.onnx or NAME.ncnn.param, float, int8 or small. It runs here and in an aarch64 Python
under qemu-aarch64, which is unpacked into DIR, about 300 MB, by apt and pip; without DIR into a
temporary folder. Prints one table. Exit code 1: a file is beyond its bounds, which are

- files computed in float, in float32: each output at least 100 dB (in ncnn its options of 16-bit
  floats, which are on there, are printed beside it, without a bound);
- int8: each layer fed what Arm fed it. Integer layers of ONNX Runtime give equal codes; where
  floats are rounded, a code is right if rounding errors alone can lead to it; what is float must
  reach 100 dB. From the picture on there is no bound: one code that differs changes all behind it.

Column ``ties``: codes that are not those computed here, but as right. Exit code 2: there can be no
Arm machine here; one line says why.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from arm_compare import Row, Run, examine
from arm_inside import Arrays, Job, load, versions
from arm_machine import INSIDE, Machine, prepare
from arm_packages import Unavailable

from mobileyolact.contract import OUTPUT_NAMES
from mobileyolact.errors import MobileYolactError
from mobileyolact.runtime.image import open_image

HERE = Machine((sys.executable,), {**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    words.add_argument("--cache", type=Path, help="folder for the Arm machine, kept")
    words.add_argument("--cpu", default="cortex-a76", help="a name that qemu-aarch64 knows")
    words.add_argument("--picture", type=Path, help="what the models see; else coloured squares")
    options = words.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            machine, description = prepare(options.cache or folder / "machine", options.cpu)
        except Unavailable as reason:
            print(f"no Arm machine: {reason}", file=sys.stderr)
            return 2
        rows = []
        for number, model in enumerate(options.models):
            print(f"computing {model}", file=sys.stderr)
            work = folder / str(number)
            work.mkdir()
            there, here = runner(machine, work), runner(HERE, work)
            try:
                rows += examine(model, read_picture(options.picture), work, there, here)
            except MobileYolactError as error:
                raise SystemExit(f"error: {error}") from None
            except subprocess.CalledProcessError as error:
                raise SystemExit(f"error: {model} cannot be computed: {error}") from None
    print(f"{description}\nagainst {versions()}\n\n{table(rows)}")
    return int(any(row.breach for row in rows))


def read_picture(path: Path | None) -> np.ndarray:
    """The picture (H, W, 3) uint8, or coloured squares, the same each time."""
    if path is not None:
        return open_image(path)
    squares = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    return squares.repeat(40, 0).repeat(40, 1)


def runner(machine: Machine, folder: Path) -> Run:
    """What runs jobs on ``machine``; ``folder`` has room for a list of them."""

    def run(jobs: list[Job]) -> list[Arrays]:
        path = folder / "jobs.json"
        path.write_text(json.dumps(jobs), encoding="utf-8")
        machine.run(INSIDE, path)
        return [load(job["result"]) for job in jobs]

    return run


def table(rows: list[Row]) -> str:
    heads = ["file", "computed", *OUTPUT_NAMES, "lowest", "compared", "ties", "wrong", ""]
    lines = [heads]
    for one in rows:
        found = one.agreement
        counts = ["", "", ""] if found is None else [found.compared, found.ties, found.wrong]
        ratios = [f"{x:.1f}" for x in (*one.decibels, one.lowest)]
        verdict = "BREACH" if one.breach else "ok" if one.bounded else ""
        lines.append([one.file, one.how, *ratios, *map(str, counts), verdict])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
