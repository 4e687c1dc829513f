"""What one training run is made of; defaults follow from the number of images."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mobileyolact.errors import OptionError, nearest

Freeze = Literal["none", "backbone", "detector"]
Precision = Literal["float32", "bfloat16"]

# (up to this many images, iterations, batch size); beyond the last row by epochs.
_BY_IMAGES = ((30, 500, 8), (150, 900, 8), (600, 1500, 8), (4000, 4000, 16))
_SMALL_SET = 10_000  # of which batch statistics say less than the loaded ones
_FEW_IMAGES = 600  # in which objects have fewer sizes than a user will meet
_ZOOM_OF_FEW = (0.35, 1.7)
_LARGE_SET_EPOCHS = 16
_LARGE_SET_BATCH = 16

# They change when files are written or how fast, never what is learnt.
RESULT_NEUTRAL = frozenset({"workers", "checkpoint_every"})


@dataclass(frozen=True)
class TrainConfig:
    """Options of a run. ``iterations`` is the only length; ``batch_size`` counts all processes.

    ``rate_new`` and ``rate_started`` are AdamW's peak learning rates of layers that start at
    random, and of the mask branch, and of other layers loaded from a checkpoint. ``freeze`` keeps
    the backbone, or everything but the mask branch, as it is. ``frozen_batch_norm`` keeps the
    running statistics of loaded norms. ``zoom`` is the range of the random scale, ``aspect`` the
    largest stretch of width against height, ``flip`` a probability, ``colour`` the strength of
    the photometric changes in 0..1, ``copy_paste`` the probability that objects of another
    picture are laid over one. ``multi_scale``
    varies the input size from one iteration to the next by up to this share of the preset's, in
    steps of 32 pixels. ``workers`` are processes that prepare batches ahead; 0
    prepares them in the loop.

    Raises:
        OptionError: a value that makes no sense, named with what is allowed.
    """

    iterations: int
    batch_size: int = 8
    seed: int = 0
    rate_new: float = 1e-3
    rate_started: float = 1e-4
    weight_decay: float = 0.05
    gradient_clip: float = 10.0
    warmup_iterations: int = 50
    ema_decay: float = 0.99
    freeze: Freeze = "none"
    frozen_batch_norm: bool = False
    zoom: tuple[float, float] = (0.6, 1.7)
    aspect: float = 1.2
    flip: float = 0.5
    colour: float = 0.5
    copy_paste: float = 0.0
    multi_scale: float = 0.0
    class_weight: float = 1.0
    box_weight: float = 2.0
    dfl_weight: float = 0.25
    mask_bce_weight: float = 1.0
    teacher_weight: float = 1.0
    teacher_mask_weight: float = 1.0
    teacher_feature_weight: float = 0.0
    validate_every: int = 100
    checkpoint_every: int = 50
    workers: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "validate_every", "checkpoint_every"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("seed", "warmup_iterations", "workers"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for field in dataclasses.fields(self):
            if field.type is float:
                value = getattr(self, field.name)
                _require(field.name, value, value >= 0 and math.isfinite(value), "0 or more")
        for name, allowed in (("freeze", get_args(Freeze)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            _require(name, value, value in allowed, "one of " + ", ".join(allowed))
        low, high = self.zoom
        _require("zoom", self.zoom, 0 < low <= high < math.inf, "two rising scales above 0")
        _require("aspect", self.aspect, self.aspect >= 1, "1 or more")
        _require("gradient_clip", self.gradient_clip, self.gradient_clip > 0, "above 0")
        for name in ("flip", "colour", "copy_paste"):
            _require(name, getattr(self, name), getattr(self, name) <= 1, "between 0 and 1")
        _require("multi_scale", self.multi_scale, self.multi_scale <= 0.5, "between 0 and 0.5")
        _require("ema_decay", self.ema_decay, self.ema_decay < 1, "below 1")

    @classmethod
    def for_images(cls, images: int, **overrides: Any) -> "TrainConfig":
        """The defaults for a training set of ``images`` pictures, with some fields set by hand.

        Warm-up, moving average, validation and checkpoints are scaled to the run's length
        after ``iterations`` has been overridden.

        Raises:
            OptionError: an unknown field (the nearest right one is named) or a wrong value.
        """
        _require_known(overrides)
        fitting = (row[1:] for row in _BY_IMAGES if images <= row[0])
        large = (math.ceil(images * _LARGE_SET_EPOCHS / _LARGE_SET_BATCH), _LARGE_SET_BATCH)
        iterations, batch_size = next(fitting, large)
        iterations = int(overrides.get("iterations", iterations))
        rate_new = float(overrides.get("rate_new", cls.rate_new))
        derived: dict[str, Any] = {
            "iterations": iterations,
            "batch_size": batch_size,
            "rate_started": 0.1 * rate_new,
            "warmup_iterations": min(300, iterations // 10),
            "ema_decay": scaled_ema_decay(iterations),
            "frozen_batch_norm": images <= _SMALL_SET,
            "zoom": _ZOOM_OF_FEW if images <= _FEW_IMAGES else cls.zoom,
            "validate_every": max(1, math.ceil(iterations / 8)),
            "checkpoint_every": min(100, max(10, iterations // 20)),
        }
        return cls(**{**derived, **overrides})

    def to_json(self) -> str:
        """The fields as one JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, where: str = "the training options") -> "TrainConfig":
        """Read what ``to_json`` wrote; ``where`` names the source in errors.

        Raises:
            OptionError: no JSON object, an unknown or missing field, or a wrong value.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise OptionError(f"{where} are not JSON ({error}); write them again") from None
        if not isinstance(values, dict):
            raise OptionError(f"{where} are no JSON object; write them again")
        _require_known(values)
        if "iterations" not in values:
            raise OptionError(f"{where} lack the field 'iterations'; add it")
        if "zoom" in values:
            values["zoom"] = tuple(values["zoom"])
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise OptionError(f"{where} hold a value of the wrong type ({error})") from None


def read_option(text: str) -> tuple[str, Any]:
    """A field's name and value out of ``NAME=VALUE``; ranges are two numbers with a comma.

    Raises:
        OptionError: no such form, an unknown field, or a value of another type.
    """
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise OptionError(f"the training option '{text}' has no value; write NAME=VALUE")
    _require_known({name: value})
    parse, wanted = _PARSERS.get(name, (str, "a word"))
    try:
        return name, parse(value.strip())
    except (ValueError, KeyError):
        raise OptionError(
            f"the training option '{text}' has a value of the wrong type; give {wanted}"
        ) from None


def scaled_ema_decay(iterations: int) -> float:
    """Decay whose averaging window is a twentieth of the run, between 10 and 5000 iterations."""
    return 1 - 1 / min(5000.0, max(10.0, iterations / 20))


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise OptionError(f"the training option {name} is {value!r}, but must be {allowed}")


def _require_known(values: dict[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in values:
        if name not in known:
            raise OptionError(f"unknown training option '{name}'{nearest(name, known)}")


def _range(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(","))
    return low, high


_PARSER_OF_TYPE: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: ({"true": True, "false": False}.__getitem__, "true or false"),
    tuple[float, float]: (_range, "two numbers with a comma, such as 0.5,2"),
}
_PARSERS = {
    field.name: _PARSER_OF_TYPE[field.type]
    for field in dataclasses.fields(TrainConfig)
    if field.type in _PARSER_OF_TYPE
}
