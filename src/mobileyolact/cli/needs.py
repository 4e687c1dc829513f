"""One clear sentence where an optional dependency is missing."""

from importlib.util import find_spec

from mobileyolact.errors import OptionError

_MODULES = {
    "train": ("torch", "accelerate", "safetensors", "pycocotools"),
    "eval": ("pycocotools",),
    "export": ("torch", "onnx", "safetensors"),
    "video": ("av",),
}


def need(extra: str, what: str, *modules: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: ``train``, ``eval``, ``export`` or ``video``.
        what: what needs it, the subject of the message.
        modules: the names to look for where not the whole extra is needed.

    Raises:
        OptionError: one is missing; the message says how to install it.
    """
    missing = [name for name in modules or _MODULES[extra] if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"{what} needs {' and '.join(missing)}, which this environment lacks; "
            f"install the extra '{extra}': pip install 'mobileyolact[{extra}]'"
        )
