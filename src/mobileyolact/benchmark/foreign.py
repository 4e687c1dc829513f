"""Models of other projects: run on random input, for the time of their network alone.

They get the threads and the settings that our own models get in the same engine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobileyolact.errors import ModelError, OptionError
from mobileyolact.runtime.backends.base import count_threads

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_CHANNELS = 3


class ForeignOnnx:
    """Any ONNX file on ONNX Runtime.

    Args:
        path: the file.
        threads: of the engine.
        size: (width, height) of pictures, for an input that does not fix them.

    Raises:
        ModelError: it cannot be loaded, or an input cannot be made up.
        OptionError: the size is needed.
    """

    def __init__(self, path: Path, threads: int, size: tuple[int, int] | None) -> None:
        import onnxruntime

        from mobileyolact.runtime.backends.onnx_runtime import open_session

        self._path = path
        self._session = open_session(path, threads)
        self._description = f"onnxruntime {onnxruntime.__version__}, CPU, {count_threads(threads)}"
        random = np.random.default_rng(0)
        self._inputs: dict[str, npt.NDArray[Any]] = {}
        for declared in self._session.get_inputs():
            if declared.type not in _TYPES:
                raise ModelError(
                    f"the input '{declared.name}' of {path} is of {declared.type}, which cannot "
                    "be made up; export the model with an input of numbers"
                )
            shape = _complete(declared.shape, size, f"the input '{declared.name}' of {path}")
            values = random.random(shape, dtype=np.float32)
            if not declared.type.startswith(("tensor(float", "tensor(double")):
                values = np.ceil(values)  # ones: valid as sizes, indices and masks alike
            self._inputs[declared.name] = values.astype(_TYPES[declared.type])

    def run(self) -> None:
        """Compute all outputs from the random input."""
        try:
            self._session.run(None, self._inputs)
        except Exception as error:  # the engine has a class of its own for every kind of failure
            reason = str(error).strip().split("\n")[0]
            raise ModelError(
                f"ONNX Runtime cannot run {self._path} on random input: {reason}; "
                "check the size of its input"
            ) from None

    def describe(self) -> str:
        """Engine, version and threads in one short line."""
        return self._description


def _complete(
    declared: list[int | str | None], size: tuple[int, int] | None, what: str
) -> tuple[int, ...]:
    """A declared shape with its free sides filled in: 1 as batch, ``size`` as height and width."""
    free = [i for i, side in enumerate(declared) if not isinstance(side, int) or side < 1]
    shape = [1 if i in free else int(side or 0) for i, side in enumerate(declared)]
    if len(shape) == 4 and 1 in free:
        shape[1] = _CHANNELS
    if len(shape) == 4 and {2, 3} & set(free):
        shape[3], shape[2] = _given(size, what)
    return tuple(shape)


def _given(size: tuple[int, int] | None, what: str) -> tuple[int, int]:
    if size is None:
        raise OptionError(f"{what} has no fixed size; say it with --input-size WxH")
    return size


@dataclass(frozen=True)
class _NcnnInput:
    name: str
    values: npt.NDArray[np.float32]


class ForeignNcnn:
    """Any two ncnn files, ``NAME.param`` and ``NAME.bin``, on the CPU.

    Args:
        path: the ``.param`` file.
        threads: of the engine.
        size: (width, height) of pictures, for an ``Input`` layer that does not fix them.

    Raises:
        ModelError: they are missing or damaged.
        OptionError: the size is needed.
    """

    def __init__(self, path: Path, threads: int, size: tuple[int, int] | None) -> None:
        import ncnn

        from mobileyolact.runtime.backends.ncnn import load_network

        for file in (path, path.with_suffix(".bin")):
            if not file.is_file():
                raise ModelError(f"there is no model file {file}; .param and .bin belong together")
        self._path = path
        self._network: Any = load_network(path, path.with_suffix(".bin"), threads)
        self._mat = ncnn.Mat
        self._inputs = _read_inputs(path, size)
        self._description = f"ncnn {ncnn.__version__}, CPU, {count_threads(threads)}"

    def run(self) -> None:
        """Compute all outputs from the random input."""
        with self._network.create_extractor() as extractor:
            failed = [i for i in self._inputs if extractor.input(i.name, self._mat(i.values))]
            names = self._network.output_names()
            if failed or any(extractor.extract(name)[0] for name in names):
                raise ModelError(
                    f"ncnn cannot run {self._path} on random input; check the size of its input"
                )

    def values(self) -> int:
        """How many values all layers read and write for one input."""
        lines = [line.split() for line in self._path.read_text(encoding="utf-8").split("\n")[2:]]
        sizes: dict[str, int] = {}
        total = 0
        with self._network.create_extractor() as extractor:
            extractor.set_light_mode(False)  # what every layer writes is kept
            for i in self._inputs:
                extractor.input(i.name, self._mat(i.values))
            for kind, _, reads, writes, *names in filter(None, lines):
                read, written = names[: int(reads)], names[int(reads) :][: int(writes)]
                for name in written:
                    code, mat = extractor.extract(name)
                    if code != 0:
                        raise ModelError(f"ncnn cannot compute '{name}' of {self._path}")
                    sizes[name] = mat.w * mat.h * mat.d * mat.c
                if kind not in ("Input", "Split"):  # copies of a tensor are the tensor itself
                    total += sum(sizes[name] for name in (*read, *written))
        return total

    def describe(self) -> str:
        """Engine, version and threads in one short line."""
        return self._description


def _read_inputs(path: Path, size: tuple[int, int] | None) -> list[_NcnnInput]:
    """Random values for each ``Input`` layer; its sides are its parameters 0, 1 and 2."""
    random = np.random.default_rng(0)
    inputs = []
    for line in path.read_text(encoding="utf-8").splitlines()[2:]:
        words = line.split()
        if words[:1] != ["Input"]:
            continue
        sides = dict(word.split("=", 1) for word in words[5:])
        width, height, channels = (int(sides.get(key, 0)) for key in "012")
        if not width:
            width, height = _given(size, f"the input '{words[4]}' of {path}")
            channels = channels or _CHANNELS
        shape = tuple(side for side in (channels, height, width) if side)
        inputs.append(_NcnnInput(words[4], random.random(shape, dtype=np.float32)))
    if not inputs:
        raise ModelError(f"{path} has no Input layer, so that nothing can be run")
    return inputs


ForeignModel = ForeignOnnx | ForeignNcnn
