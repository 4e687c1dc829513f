"""What every engine offers to the runtime, and the register of engines."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import OUTPUT_NAMES, ModelContract
from mobileyolact.errors import ContractError, ModelError

FloatArray = npt.NDArray[np.float32]


class RawOutputs(NamedTuple):
    """The network's raw tensors, all float32 with a batch dimension of 1.

    N is the number of cells of all levels together, or of their anchors, C the number of classes,
    K the number of prototypes. Nothing is decoded yet: ``ModelContract`` says how to read them.
    """

    scores: FloatArray
    """(1, N, C) logits, or (1, N, C + 1) for ``softmax``, background first."""
    boxes: FloatArray
    """(1, N, 4 * (reg_max + 1)) bin logits for ``dfl``; (1, N, 4) distances for ``ltrb``, offsets
    for ``anchor``."""
    coefficients: FloatArray
    """(1, N, K), before the contract's coefficient activation."""
    prototypes: FloatArray
    """(1, K, h, w), before the contract's prototype activation."""


class Backend(Protocol):
    """One opened model in one engine; owns its threads and changes nothing of the process."""

    @property
    def contract(self) -> ModelContract:
        """What the model file says about itself."""
        ...

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Run the network on a C-contiguous float32 tensor (1, 3, H, W) from ``preprocess``.

        Several Python threads may call it at once.

        Raises:
            ModelError: the tensor or the outputs do not have the shapes of the contract, or
                the backend is closed.
        """
        ...

    def describe(self) -> str:
        """Engine, version and threads in one short line."""
        ...

    def close(self) -> None:
        """Free the engine; ``run`` then raises ModelError. Closing twice is allowed."""
        ...


class BackendEntry(NamedTuple):
    """A registered engine: its ``name``, the file ending it reads, and its constructor."""

    name: str
    suffix: str
    open: Callable[[Path, int], Backend]


BACKENDS: dict[str, BackendEntry] = {}


_Constructor = TypeVar("_Constructor", bound=Callable[[Path, int], Backend])


def register(name: str, suffix: str) -> Callable[[_Constructor], _Constructor]:
    """Class decorator: make a backend known under ``name`` for files that end in ``suffix``."""

    def add(constructor: _Constructor) -> _Constructor:
        BACKENDS[name] = BackendEntry(name, suffix, constructor)
        return constructor

    return add


def check_tensor(tensor: FloatArray, contract: ModelContract) -> None:
    """Refuse a tensor that an engine would misread: ncnn takes any layout without a word.

    Raises:
        ModelError: not float32, not C-contiguous, or not (1, 3, H, W) of the contract.
    """
    expected = (1, 3, *contract.input_size)
    if tensor.shape != expected or tensor.dtype != np.float32 or not tensor.flags.c_contiguous:
        raise ModelError(
            f"model '{contract.name}' reads one C-contiguous float32 tensor of shape {expected}, "
            f"but got {tensor.dtype} of shape {tensor.shape}; "
            "make it with mobileyolact.runtime.preprocess"
        )


def check_outputs(raw: RawOutputs, contract: ModelContract, where: str) -> RawOutputs:
    """Return ``raw`` if its shapes are those of the contract; ``where`` names the file.

    Raises:
        ContractError: a shape differs, so the file and its contract do not belong together.
    """
    for name, array, info in zip(OUTPUT_NAMES, raw, contract.outputs, strict=True):
        if array.shape != info.shape:
            raise ContractError(
                f"output '{name}' of {where} has shape {array.shape}, but its contract says "
                f"{info.shape}; export the model again"
            )
    return raw


def count_threads(threads: int) -> str:
    """The number of threads in words, for ``describe``."""
    return "1 thread" if threads == 1 else f"{threads} threads"
