"""ncnn on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from mobileyolact.contract import OUTPUT_NAMES, ModelContract
from mobileyolact.errors import ContractError, ModelError
from mobileyolact.runtime.backends.base import (
    FloatArray,
    RawOutputs,
    check_outputs,
    check_tensor,
    count_threads,
    register,
)

INPUT_NAME = "image"
_MAGIC = "7767517"


@register("ncnn", ".ncnn.param")
class NcnnBackend:
    """Runs ``NAME.ncnn.param`` and ``NAME.ncnn.bin`` as ``NAME.ncnn.json`` describes them.

    Arithmetic is float32 on every processor: ncnn's own default on Arm, float16 arithmetic,
    costs about as much accuracy as int8 does.

    Args:
        path: the ``.ncnn.param`` file; the other two lie beside it.
        threads: OpenMP threads of this network.

    Raises:
        ModelError: a missing or damaged file.
        ContractError: a contract that does not belong to this network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import ncnn

        stem = path.name[: -len(".param")]
        weights, sidecar = path.with_name(stem + ".bin"), path.with_name(stem + ".json")
        for file in (path, weights, sidecar):
            if not file.is_file():
                raise ModelError(
                    f"there is no model file {file}; .ncnn.param, .ncnn.bin and .ncnn.json "
                    "belong together"
                )
        self.contract = ModelContract.from_json(_read_text(sidecar), str(sidecar))
        network = load_network(path, weights, threads)
        names = set(network.output_names())
        if list(network.input_names()) != [INPUT_NAME] or not names.issuperset(OUTPUT_NAMES):
            raise ContractError(
                f"{path} does not have the input {INPUT_NAME} and the outputs "
                f"{', '.join(OUTPUT_NAMES)}; export the model again"
            )
        self._path = path
        self._description = f"ncnn {ncnn.__version__}, CPU, {count_threads(threads)}"
        self._mat = ncnn.Mat
        self._network: Any = network

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Run the network; see ``Backend.run``."""
        if self._network is None:
            raise ModelError(f"the backend of {self._path} is closed; open it again")
        check_tensor(tensor, self.contract)
        with self._network.create_extractor() as extractor:
            # The Mat borrows the memory of ``tensor``, which lives until this method ends.
            if extractor.input(INPUT_NAME, self._mat(tensor[0])) != 0:
                raise ModelError(f"ncnn refuses the input of {self._path}; export it again")
            arrays = [self._extract(extractor, name) for name in OUTPUT_NAMES]
        return check_outputs(RawOutputs(*arrays), self.contract, str(self._path))

    def describe(self) -> str:
        return self._description

    def close(self) -> None:
        self._network = None

    def _extract(self, extractor: Any, name: str) -> FloatArray:
        code, mat = extractor.extract(name)
        if code != 0:
            raise ModelError(
                f"ncnn cannot compute '{name}' of {self._path}; export or download it again"
            )
        # Channels of a Mat are padded: the copy makes the array contiguous.
        return np.array(mat, dtype=np.float32)[None]


def load_network(path: Path, weights: Path, threads: int) -> Any:
    """An ``ncnn.Net`` on the CPU of any two ncnn files, ours or not.

    Raises:
        ModelError: they are damaged, or do not belong together.
    """
    import ncnn

    _check_param(path)
    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_vulkan_compute = False
    network.opt.use_fp16_arithmetic = False
    # Errors come as return codes, never as exceptions.
    if network.load_param(str(path)) != 0:
        raise ModelError(f"ncnn cannot load {path}; export or download it again")
    if network.load_model(str(weights)) != 0:
        raise ModelError(
            f"ncnn cannot load {weights}: it is truncated or belongs to another .param file; "
            "export or download it again"
        )
    return network


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}; export or download it again") from None


def _check_param(path: Path) -> None:
    """Find a truncated file first: ncnn reads past the end of the lines it was promised."""
    lines = _read_text(path).split("\n")
    counts = lines[1].split() if len(lines) > 1 else []
    layers = sum(1 for line in lines[2:] if line.strip())
    if lines[0].strip() != _MAGIC or len(counts) != 2 or counts[0] != str(layers):
        raise ModelError(f"{path} is damaged or no ncnn file; export or download it again")
