"""One model file on Arm and here: which tensors are fetched, and how they are compared."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import arm_ncnn
import numpy as np
from arm_inside import Arrays, Job, save
from arm_onnx import Agreement, CodedModel, given

from mobileyolact.contract import OUTPUT_NAMES
from mobileyolact.errors import OptionError
from mobileyolact.export.graph import INPUT_NAME
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.preprocess import preprocess

BOUND = 100.0  # dB
HALF_OFF = {
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
}
# How ncnn may run: to compare, as this package runs it, and as it runs by itself.
FLOAT32, STORAGE, DEFAULTS = "float32", "16-bit storage", "ncnn's defaults"
NCNN = {FLOAT32: HALF_OFF, STORAGE: {"use_fp16_arithmetic": False}, DEFAULTS: {}}
LAYERS = "layer by layer"

Run = Callable[[list[Job]], list[Arrays]]


@dataclass(frozen=True)
class Row:
    """One line of the table. ``bounded``: ``decibels`` (of each output) have to reach ``BOUND``.

    ``lowest`` is of all tensors that were compared as floats; NaN is a breach.
    """

    file: str
    how: str
    decibels: tuple[float, ...]
    lowest: float
    bounded: bool
    agreement: Agreement | None = None

    @property
    def breach(self) -> bool:
        wrong = 0 if self.agreement is None else self.agreement.wrong
        return wrong > 0 or (self.bounded and not self.lowest >= BOUND)


def examine(path: Path, picture: np.ndarray, work: Path, there: Run, here: Run) -> list[Row]:
    """The rows of one file.

    Args:
        path: NAME.onnx or NAME.ncnn.param.
        picture: (H, W, 3) uint8 RGB.
        work: an empty folder.
        there: runs jobs on Arm.
        here: runs them on this processor.

    Raises:
        OptionError: another kind of file.
        MobileYolactError: the file is missing, damaged, or not one of ours.
    """
    if not path.name.endswith((".onnx", ".ncnn.param")):
        raise OptionError(f"{path} is neither NAME.onnx nor NAME.ncnn.param; give one of these")
    backend = open_backend(path)
    tensor, _ = preprocess(picture, backend.contract)
    backend.close()
    examine_format = examine_onnx if path.name.endswith(".onnx") else examine_ncnn
    return examine_format(path, {INPUT_NAME: tensor}, work, there, here)


def examine_onnx(path: Path, image: Arrays, work: Path, there: Run, here: Run) -> list[Row]:
    model = CodedModel(path)
    opened, cut = work / "open.onnx", work / "cut.onnx"
    plain = job(path, image, OUTPUT_NAMES, work)
    if not model.codes:
        return [row(path, FLOAT32, there([plain])[0], here([plain])[0], OUTPUT_NAMES, True)]
    model.write_open(opened)
    outputs, arm = there([plain, job(opened, image, [*OUTPUT_NAMES, *model.codes], work)])
    model.write_cut(cut, arm)
    inputs = image | {given(name): arm[name] for name in model.codes}
    names = [*OUTPUT_NAMES, *model.cut_outputs]
    mine, by_layer = here([plain, job(cut, inputs, names, work)])
    found = model.compare(arm, by_layer)
    return [
        row(path, "from the picture", outputs, mine, OUTPUT_NAMES, False),
        row(path, LAYERS, arm, by_layer, OUTPUT_NAMES, True, found),
    ]


def examine_ncnn(path: Path, image: Arrays, work: Path, there: Run, here: Run) -> list[Row]:
    layers = arm_ncnn.read_integer_layers(path)
    tensors = list(dict.fromkeys(x for one in layers for x in (one.source, one.target)))
    names = {how: [*OUTPUT_NAMES, *(tensors if how == FLOAT32 else ())] for how in NCNN}
    jobs = [job(path, image, names[how], work, options) for how, options in NCNN.items()]
    arm = dict(zip(NCNN, there(jobs), strict=True))
    exact = arm[FLOAT32]
    (mine,) = here([job(path, image, OUTPUT_NAMES, work, HALF_OFF)])
    rows = [
        row(path, how, arm[how], mine, OUTPUT_NAMES, how == FLOAT32 and not layers) for how in NCNN
    ]
    if layers:
        # What lies between integer layers: from Arm's outputs of these to their inputs.
        floats = [one.target for one in layers if one.scale_out is None]
        between = [one.source for one in layers if not one.reads_codes]
        between = [*OUTPUT_NAMES, *dict.fromkeys(between)]
        inputs = image | {name: exact[name] for name in floats}
        (by_layer,) = here([job(path, inputs, between, work, HALF_OFF)])
        found = arm_ncnn.compare(layers, exact)
        rows.append(row(path, LAYERS, exact, by_layer, between, True, found))
    return rows


def job(
    path: Path,
    inputs: Arrays,
    names: Iterable[str],
    work: Path,
    options: dict[str, bool] | None = None,
) -> Job:
    """A job that saves the tensors ``names``; files of its own in ``work`` hold in- and outputs."""
    number = len(list(work.glob("*.npz")))
    source = work / f"{number}.npz"
    save(source, inputs)
    return {
        "model": str(path.resolve()),
        "inputs": str(source),
        "names": list(names),
        "options": options or {},
        "result": str(work / f"{number}.result.npz"),
    }


def row(
    path: Path,
    how: str,
    arm: Arrays,
    mine: Arrays,
    compared: Iterable[str],
    bounded: bool,
    agreement: Agreement | None = None,
) -> Row:
    ratios = {name: decibels(mine[name], arm[name]) for name in compared}
    outputs = tuple(ratios[name] for name in OUTPUT_NAMES)
    return Row(path.name, how, outputs, float(np.min(list(ratios.values()))), bounded, agreement)


def decibels(reference: np.ndarray, other: np.ndarray) -> float:
    """10 log10 of signal by noise; infinite if equal, NaN if anything is not finite."""
    exact = reference.astype(np.float64)
    noise = float(np.square(exact - other).sum())
    signal = float(np.square(exact).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(max(signal, 1e-30) / noise) if math.isfinite(noise) else math.nan
