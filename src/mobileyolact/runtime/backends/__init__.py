"""Engines that run a network. Each registers itself; add a module here to add an engine."""

from pathlib import Path

from mobileyolact.errors import OptionError, nearest
from mobileyolact.runtime.backends import ncnn, onnx_runtime, torchscript
from mobileyolact.runtime.backends.base import BACKENDS, Backend, RawOutputs

__all__ = [
    "BACKENDS",
    "Backend",
    "RawOutputs",
    "ncnn",
    "onnx_runtime",
    "open_backend",
    "torchscript",
]


def open_backend(
    path: str | Path, backend: str | None = None, threads: int | None = None
) -> Backend:
    """Open a model file.

    Args:
        path: ``NAME.onnx``, ``NAME.torchscript``, or ``NAME.ncnn.param`` with ``NAME.ncnn.bin``
            and ``NAME.ncnn.json`` beside it.
        backend: name of the engine; ``None`` chooses it by the file's ending.
        threads: threads of the engine; ``None`` is one, which is best where the other cores
            have work of their own.

    Raises:
        OptionError: an unknown backend, one that does not read this file, or threads below 1.
        ModelError: the file is missing, damaged, or not one of ours.
    """
    path = Path(path)
    threads = 1 if threads is None else threads
    if threads < 1:
        raise OptionError(f"threads must be at least 1, got {threads}")
    if backend is not None and backend not in BACKENDS:
        raise OptionError(f"there is no backend '{backend}'{nearest(backend, BACKENDS)}")
    entries = [BACKENDS[backend]] if backend is not None else list(BACKENDS.values())
    for entry in entries:
        if path.name.lower().endswith(entry.suffix):
            return entry.open(path, threads)
    if path.name.lower().endswith(".safetensors"):
        raise OptionError(
            f"{path} is a checkpoint; export it first: mobileyolact export {path} --images DIR"
        )
    known = ", ".join(f"{entry.suffix} ({entry.name})" for entry in BACKENDS.values())
    reader = f"backend '{backend}' does" if backend is not None else "the backends do"
    raise OptionError(f"{reader} not read {path.name}; known model files are {known}")
