"""TorchScript in PyTorch on the CPU; PyTorch is imported when such a file is opened."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mobileyolact.contract import ModelContract
from mobileyolact.errors import ModelError, NoContractError, OptionError
from mobileyolact.runtime.backends.base import (
    FloatArray,
    RawOutputs,
    check_outputs,
    check_tensor,
    count_threads,
    register,
)

EXTRA_FILE = "contract.json"


@register("torchscript", ".torchscript")
class TorchScriptBackend:
    """Runs a TorchScript file that carries a contract as its extra file ``contract.json``.

    A TorchScript file is a program. Loading it unpickles with PyTorch's own reader for such
    files, which knows tensors and TorchScript's types and calls no Python; but the program may
    use all of PyTorch's operators, also those that read and write files. Open trusted files only.

    An int8 file is loaded for the engine that ``int8_engine`` names, whatever PyTorch's own
    setting is.

    Args:
        path: the ``.torchscript`` file.
        threads: PyTorch's threads during ``run``. PyTorch has one setting for the whole process:
            each call sets it and puts back what it found, so the calls of several Python threads
            at once should find the same number.

    Raises:
        OptionError: PyTorch is not installed.
        ModelError: missing or damaged file, or an int8 one and PyTorch cannot compute with int8.
        ContractError: no contract, or one that does not belong to this network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise ModelError(f"there is no model file {path}; check the path")
        data = _read(path)
        self.contract = _read_contract(data, path)
        try:
            import torch
        except ImportError:
            raise OptionError(
                f"{path} needs torch, which this environment lacks; install the extra "
                "'torchscript': pip install 'mobileyolact[torchscript]'"
            ) from None
        engine = None if self.contract.quantization is None else int8_engine(f"{path} cannot run")
        try:
            with without_deprecation(), quantized_engine(engine) if engine else nullcontext():
                module = torch.jit.load(io.BytesIO(data), map_location="cpu")
        except Exception as error:  # the engine has a class of its own for every kind of damage
            reason = str(error).strip().split("\n")[0]
            raise ModelError(
                f"PyTorch cannot load {path}: {reason}; export or download it again"
            ) from None
        self._path = path
        self._threads = threads
        version = f"PyTorch {torch.__version__}"
        how = f"int8 by {engine} in {version}" if engine else f"in {version}"
        self._description = f"torchscript {how}, CPU, {count_threads(threads)}"
        self._module: Any = module

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Run the network; see ``Backend.run``."""
        import torch

        if self._module is None:
            raise ModelError(f"the backend of {self._path} is closed; open it again")
        check_tensor(tensor, self.contract)
        # PyTorch warns of memory that it must not write to, although nothing here would.
        image = torch.from_numpy(tensor if tensor.flags.writeable else tensor.copy())
        with torch.inference_mode(), _torch_threads(self._threads):
            try:
                scores, boxes, coefficients, prototypes = (
                    output.float().contiguous().numpy() for output in self._module(image)
                )
            except Exception as error:  # whatever a module of another project does or returns
                reason = str(error).strip().split("\n")[-1]
                raise ModelError(
                    f"PyTorch cannot run {self._path} as its contract says ({reason}); "
                    "export it again"
                ) from None
        raw = RawOutputs(scores, boxes, coefficients, prototypes)
        return check_outputs(raw, self.contract, str(self._path))

    def describe(self) -> str:
        return self._description

    def close(self) -> None:
        self._module = None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; check the path") from None


def _read_contract(data: bytes, path: Path) -> ModelContract:
    """Look into the archive before PyTorch does, which checks neither sums nor origin."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{EXTRA_FILE}")]
            texts = [archive.read(name).decode("utf-8") for name in names[:1]]
    except Exception as error:  # zipfile has many, and those of its decompressors
        raise ModelError(
            f"{path} is damaged or no TorchScript file ({error}); export or download it again"
        ) from None
    if damaged is not None:
        raise ModelError(f"{path} is damaged in '{damaged}'; export or download it again")
    if not texts:
        raise NoContractError(
            f"{path} has no contract, so it is not a model of mobileyolact; "
            "make one with: mobileyolact export"
        )
    return ModelContract.from_json(texts[0], str(path))


def int8_engine(what: str) -> str:
    """The one of PyTorch's quantized engines that int8 files are loaded for.

    On x86 that is oneDNN: FBGEMM, with which PyTorch by itself computes many depthwise
    convolutions, takes about six times as long for n-416, whose channels are no multiples of 8.
    On Arm it is QNNPACK, which was made for it.

    Raises:
        ModelError: there is none, as will be once PyTorch has lost its quantized tensors; the
            message begins with ``what``.
    """
    import torch

    supported = []
    if hasattr(torch.ops.quantized, "conv2d"):
        supported = torch.backends.quantized.supported_engines
    preferred = ("onednn", "fbgemm") if "fbgemm" in supported else ("qnnpack", "onednn")
    for engine in preferred:
        if engine in supported:
            return engine
    raise ModelError(
        f"{what}, because PyTorch {torch.__version__} has no quantized operators here; "
        "take the int8 ONNX file, or a PyTorch between 2.4 and 2.13"
    )


@contextmanager
def quantized_engine(engine: str) -> Iterator[None]:
    """Set PyTorch's engine for quantized kernels that are packed inside, and put it back.

    PyTorch says once in a process that quantized tensors will go, when the first one is made.
    Made here, it is a warning that can be kept back; ``torch.jit.load`` would print it.
    """
    import torch

    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Keep PyTorch's advice to leave ``torch.jit`` from the user, who cannot follow it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        yield


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
