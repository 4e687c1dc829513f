"""What is measured, and opening it: our own models whole, those of others as bare networks."""

from dataclasses import dataclass
from pathlib import Path

from mobileyolact.benchmark.foreign import ForeignModel, ForeignNcnn, ForeignOnnx
from mobileyolact.errors import NoContractError
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.base import Backend

_CHECKPOINT = ".safetensors"
_PARAM, _OUR_PARAM = ".param", ".ncnn.param"


@dataclass(frozen=True)
class Subject:
    """A model under the ``name`` that reports call it by.

    ``path`` is an artefact, a checkpoint, or a file of another project: ``.onnx`` without a
    contract, or ``.param`` with ``.bin`` beside it. ``backend`` is an engine, ``None`` chooses it
    by the file. ``threads`` are those of the engine.
    """

    name: str
    path: Path
    backend: str | None = None
    threads: int = 1

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the model that exist, first ``path``."""
        beside = [Path(f"{self.path}.data")]  # where ONNX keeps weights that are not in the file
        if self.path.name.lower().endswith(_PARAM):
            beside = [self.path.with_suffix(suffix) for suffix in (".bin", ".json")]
        return (self.path, *(file for file in beside if file.is_file()))


def open_subject(subject: Subject, input_size: tuple[int, int] | None) -> Backend | ForeignModel:
    """Open a model.

    Args:
        subject: which one.
        input_size: (width, height) for a model of another project that does not fix it.

    Raises:
        OptionError: an unknown backend, one that does not read the file, or a size is missing.
        ModelError: a missing or damaged file, or no engine can run it.
    """
    path = subject.path
    name = path.name.lower()
    if name.endswith(_CHECKPOINT) and subject.backend in (None, "torch"):
        from mobileyolact.model.backend import TorchBackend

        return TorchBackend.open(path)
    described = name.endswith(_OUR_PARAM) and path.with_suffix(".json").is_file()
    if name.endswith(_PARAM) and not described and subject.backend in (None, "ncnn"):
        return ForeignNcnn(path, subject.threads, input_size)
    try:
        return open_backend(path, subject.backend, subject.threads)
    except NoContractError:
        if not name.endswith(".onnx"):
            raise
    return ForeignOnnx(path, subject.threads, input_size)
