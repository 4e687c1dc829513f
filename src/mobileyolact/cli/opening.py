"""Opening whatever MODEL names on the command line as a backend."""

from pathlib import Path
from typing import TYPE_CHECKING

from mobileyolact import zoo
from mobileyolact.cli.needs import need
from mobileyolact.errors import OptionError

if TYPE_CHECKING:
    from mobileyolact.runtime.backends.base import Backend

TORCH = "torch"


def open_backend_for(
    model: str | Path, backend: str | None = None, threads: int | None = None
) -> "Backend":
    """Open a zoo name, an artefact or a ``.safetensors`` checkpoint.

    Args:
        model: ``coco``, or the path of an artefact or of a ``.safetensors`` checkpoint.
        backend: ``onnxruntime``, ``ncnn``, ``torchscript``, or ``torch`` for a checkpoint; ``None``
            chooses by the file, and onnxruntime for a name.
        threads: threads of the engine, ``None`` for its default.

    Raises:
        OptionError: an unknown name or backend, a backend that does not read the file, PyTorch
            is missing, or threads were given for it.
        ModelError: the file is missing or damaged.
    """
    path = find_model(model, backend)
    if is_checkpoint(path) and backend in (None, TORCH):
        return _open_checkpoint(path, threads)
    from mobileyolact.runtime.backends import open_backend

    return open_backend(path, backend, threads)


def find_model(model: str | Path, backend: str | None = None) -> Path:
    """The file that a zoo name or a path stands for, which exists; errors as above."""
    path = zoo.resolve(model, _kind(model, backend))
    if is_checkpoint(path) and backend in (None, TORCH):
        need("train", f"the checkpoint '{path.name}'", "torch", "safetensors")
    return path


def runs_in_torch(model: str, backend: str | None) -> bool:
    """Whether ``open_backend_for`` opens a checkpoint in PyTorch."""
    return backend == TORCH or (backend is None and model.lower().endswith(".safetensors"))


def is_checkpoint(path: Path) -> bool:
    """Whether it is a file that PyTorch runs."""
    return zoo.kind_of(path) == "safetensors"


def _kind(model: str | Path, backend: str | None) -> zoo.Kind | None:
    """The kind of file to take; ``open_backend`` judges backends that it does not know."""
    if backend == TORCH:
        return "safetensors"
    is_name = any(entry.name == str(model) for entry in zoo.list_models())
    if backend is None or not is_name:
        return None
    from mobileyolact.runtime.backends import BACKENDS

    return zoo.kind_of(Path(BACKENDS[backend].suffix)) if backend in BACKENDS else None


def _open_checkpoint(path: Path, threads: int | None) -> "Backend":
    if threads is not None:
        raise OptionError(
            f"'{path.name}' runs in PyTorch, whose threads are those of the process; "
            "leave out --threads and set OMP_NUM_THREADS"
        )
    from mobileyolact.model.backend import TorchBackend

    return TorchBackend.open(path)
