"""Models by name: the ones that the package embeds, and any file of the user's by its path."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobileyolact.errors import ModelError, OptionError, nearest

Kind = Literal["onnx", "ncnn", "torchscript", "safetensors"]

ASSETS = Path(__file__).parent / "assets"

# TorchScript needs PyTorch to run, and who has it makes the file in seconds.
EMBEDDED: tuple[Kind, ...] = ("onnx", "ncnn", "safetensors")

# The file that stands for a model of each kind, and what lies beside it.
_SUFFIXES: dict[Kind, str] = {
    "onnx": ".onnx",
    "ncnn": ".ncnn.param",
    "torchscript": ".torchscript",
    "safetensors": ".safetensors",
}
_COMPANIONS: dict[Kind, tuple[str, ...]] = {
    "onnx": (),
    "ncnn": (".ncnn.bin", ".ncnn.json"),
    "torchscript": (),
    "safetensors": (),
}


@dataclass(frozen=True)
class ZooModel:
    """One embedded model: ``name`` for the command line, and its files ``stem`` + suffix.

    ``embedded`` are the kinds of file that come with the package.
    """

    name: str
    preset: str
    summary: str
    embedded: tuple[Kind, ...] = EMBEDDED

    @property
    def stem(self) -> Path:
        return ASSETS / self.name / self.preset

    def path(self, kind: Kind) -> Path:
        return self.stem.with_name(self.stem.name + _SUFFIXES[kind])

    def files(self, kind: Kind) -> tuple[Path, ...]:
        """Every file of this kind, the one that stands for the model first."""
        suffixes = (_SUFFIXES[kind], *_COMPANIONS[kind])
        return tuple(self.stem.with_name(self.stem.name + suffix) for suffix in suffixes)

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds whose files are all there."""
        return tuple(kind for kind in self.embedded if all(f.is_file() for f in self.files(kind)))


_MODELS = (
    ZooModel("coco", "n-416", "80 COCO classes, ShuffleNetV2-1.0x at 416 x 416"),
    ZooModel("coco-int8", "n-416", "pruned and in int8: smaller, mostly faster", ("onnx",)),
)


def list_models() -> tuple[ZooModel, ...]:
    """The embedded models, in the order in which they are offered."""
    return _MODELS


def kind_of(path: Path) -> Kind:
    """The kind of model file that ``path`` names, by its suffix.

    Raises:
        OptionError: the suffix is none of ours.
    """
    for kind, suffix in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise OptionError(
        f"'{path}' is no model file: the name must end in {', '.join(_SUFFIXES.values())}"
    )


def resolve(model: str | Path, kind: Kind | None = None) -> Path:
    """Find the file of a model.

    Args:
        model: a name of the zoo such as ``"coco"``, or the path of a model file.
        kind: the kind of file that is needed; ``None`` takes a path as it is, and ONNX of a name.

    Returns:
        The path of the ``.onnx``, ``.ncnn.param``, ``.torchscript`` or ``.safetensors`` file,
        which exists.

    Raises:
        OptionError: an unknown name, a suffix that is none of ours, a file of another kind, or a
            kind that is not embedded.
        ModelError: the file is missing.
    """
    by_name = {entry.name: entry for entry in list_models()}
    if str(model) in by_name:
        entry = by_name[str(model)]
        if kind is not None and kind not in entry.embedded:
            advice = f"make one with: mobileyolact export {model} --format {kind} --images DIR"
            if "safetensors" not in entry.embedded:
                advice = "it was made from 'coco', give that"
            raise OptionError(
                f"the embedded model '{model}' has no {_SUFFIXES[kind]} file; {advice}"
            )
        path = entry.path(kind or "onnx")
        if not path.is_file():
            raise ModelError(
                f"the embedded model '{model}' lacks its file {path.name}; "
                "install mobileyolact again"
            )
        return path
    path = Path(model)
    if not path.exists() and path.name == str(model) and "." not in path.name:
        raise OptionError(
            f"there is no model named '{model}'{nearest(str(model), by_name)}, "
            f"or give the path of a file that ends in {', '.join(_SUFFIXES.values())}"
        )
    found = kind_of(path)
    if kind is not None and found != kind:
        raise OptionError(
            f"'{path}' is a {_SUFFIXES[found]} file, but a {_SUFFIXES[kind]} file is needed here"
        )
    if not path.is_file():
        raise ModelError(f"there is no model file '{path}'; check the path")
    return path
