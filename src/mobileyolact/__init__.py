"""Instance masks on phones, browsers, small boards and plain CPUs.

>>> from mobileyolact import Predictor
>>> instances = Predictor("coco")("photo.jpg")  # doctest: +SKIP

The public names are loaded when they are first used, so that ``import mobileyolact`` is cheap
and never loads PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobileyolact.contract import ModelContract
    from mobileyolact.runtime.instances import Instances
    from mobileyolact.runtime.predictor import Predictor

__version__ = "0.3.0"
__all__ = ["Instances", "ModelContract", "Predictor", "__version__"]

_HOME = {
    "Instances": "mobileyolact.runtime.instances",
    "ModelContract": "mobileyolact.contract",
    "Predictor": "mobileyolact.runtime.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mobileyolact' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
