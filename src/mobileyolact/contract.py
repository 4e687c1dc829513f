"""What a model file says about itself, so that no runtime hard-codes anything.

The contract travels as one JSON text: in ONNX ``metadata_props`` and safetensors metadata
under ``CONTRACT_KEY``, in TorchScript as the extra file ``contract.json``, and beside ncnn's two
files as ``NAME.ncnn.json``.
Every field is described in ``docs/contract.md``.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mobileyolact.errors import ContractError

FORMAT_VERSION = 1
CONTRACT_KEY = "mobileyolact.contract"

Resize = Literal["stretch", "letterbox"]
ColourOrder = Literal["rgb", "bgr"]
BoxCoding = Literal["dfl", "ltrb", "anchor"]
ScoreActivation = Literal["sigmoid", "softmax"]
CoefficientActivation = Literal["none", "tanh"]
PrototypeActivation = Literal["none", "relu"]
Nms = Literal["exact", "fast"]

OPTIONAL = ("anchor_scales", "anchor_ratios", "position_coefficients")
POSITION_TERMS = 8
OUTPUT_NAMES = ("scores", "boxes", "coefficients", "prototypes")


@dataclass(frozen=True)
class ClassInfo:
    """One class: ``index`` in the network's scores, ``name``, and ``original_id`` in the labels."""

    index: int
    name: str
    original_id: int


@dataclass(frozen=True)
class OutputInfo:
    """One raw output tensor of the network, batch dimension included."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str


def level_shapes(
    input_size: tuple[int, int], strides: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Rows and columns of cells of each level, in the order of ``strides``."""
    height, width = input_size
    return tuple((math.ceil(height / s), math.ceil(width / s)) for s in strides)


def output_infos(
    input_size: tuple[int, int],
    strides: tuple[int, ...],
    *,
    classes: int,
    box_values: int,
    prototypes: int,
    position_coefficients: int = 0,
    prototype_stride: int = 4,
    anchors: int = 0,
    background: bool = False,
) -> tuple[OutputInfo, ...]:
    """The four outputs of a network of these sizes, shapes with a batch of 1.

    ``box_values`` is how many numbers a row gives for its box: 4, or ``4 * (reg_max + 1)``.
    A cell has one row, or one for each of its ``anchors``; ``background`` adds a score.
    """
    cells = sum(rows * columns for rows, columns in level_shapes(input_size, strides))
    rows_of_all = cells * (anchors or 1)
    ((rows, columns),) = level_shapes(input_size, (prototype_stride,))
    described = (
        (
            (1, rows_of_all, classes + background),
            "logit of the background, then of each class" if background else "logit of each class",
        ),
        (
            (1, rows_of_all, box_values),
            "offsets from the anchor: centre x, centre y, width, height"
            if anchors
            else "left, top, right, bottom, as box_coding says",
        ),
        (
            (1, rows_of_all, prototypes + position_coefficients),
            "mask coefficients before activation"
            + (", then those of the position in the box" if position_coefficients else ""),
        ),
        ((1, prototypes, rows, columns), "prototype masks before activation"),
    )
    return tuple(
        OutputInfo(name, shape, "float32", meaning)
        for name, (shape, meaning) in zip(OUTPUT_NAMES, described, strict=True)
    )


@dataclass(frozen=True)
class Quantization:
    """How an artefact was quantized, for example ``scope="full"``, ``method="ptq"``."""

    scope: str
    method: str


@dataclass(frozen=True)
class ModelContract:
    """Everything between picture and masks that is not in the network's graph.

    ``input_size`` is (height, width). ``mean`` and ``std`` are on the 0..255 scale in
    ``colour_order``: the network reads ``(pixel - mean) / std``. Cell (row, column) of a
    level with stride s has its centre at ``((column + centre_offset) * s,
    (row + centre_offset) * s)`` in input pixels; levels follow each other in the order of
    ``strides``, cells row by row. Box distances (left, top, right, bottom) are in units of
    the level's stride; with ``box_coding`` ``anchor`` a cell has one row for each of
    ``anchor_ratios``, see ``mobileyolact.runtime.anchors``. Prototypes cover the whole input at
    ``prototype_stride``. Scores are logits: one sigmoid per class, or a softmax over the
    background and the classes. The last ``position_coefficients`` of a row of coefficients, 0 or 8,
    are those of ``mobileyolact.runtime.position``. ``fill`` is RGB, whatever ``colour_order`` is.

    Raises:
        ContractError: an unknown choice, or fields that contradict each other.
    """

    name: str
    input_size: tuple[int, int]
    classes: tuple[ClassInfo, ...]
    outputs: tuple[OutputInfo, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    colour_order: ColourOrder = "rgb"
    resize: Resize = "stretch"
    fill: tuple[int, int, int] = (114, 114, 114)
    box_coding: BoxCoding = "dfl"
    reg_max: int = 7
    centre_offset: float = 0.0
    prototype_stride: int = 4
    anchor_scales: tuple[float, ...] = ()
    anchor_ratios: tuple[float, ...] = ()
    score_activation: ScoreActivation = "sigmoid"
    coefficient_activation: CoefficientActivation = "tanh"
    prototype_activation: PrototypeActivation = "none"
    position_coefficients: int = 0
    score_threshold: float = 0.3
    nms: Nms = "exact"
    nms_threshold: float = 0.6
    mask_threshold: float | None = None
    max_detections: int = 100
    provenance: dict[str, Any] = field(default_factory=dict)
    quantization: Quantization | None = None
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ContractError(
                    f"the contract of model '{self.name}' says {name}={value!r}, "
                    f"but this version knows only {', '.join(map(repr, allowed))}; "
                    "update mobileyolact or export the model again"
                )
        if [c.index for c in self.classes] != list(range(len(self.classes))):
            raise ContractError(
                f"the contract of model '{self.name}' lists its classes out of order: "
                "indices must run from 0 without gaps; export the model again"
            )
        if tuple(o.name for o in self.outputs) != OUTPUT_NAMES:
            raise ContractError(
                f"the contract of model '{self.name}' must list the outputs "
                f"{', '.join(OUTPUT_NAMES)} in this order; export the model again"
            )
        _check_anchors(self)
        if self.position_coefficients not in (0, POSITION_TERMS):
            raise ContractError(
                f"the contract of model '{self.name}' has position_coefficients "
                f"{self.position_coefficients!r}, which must be {POSITION_TERMS}, or left out; "
                "export the model again"
            )
        _check_shapes(self)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    def at_size(self, input_size: tuple[int, int]) -> "ModelContract":
        """The contract of the same network at another input size (height, width)."""
        return dataclasses.replace(
            self, input_size=input_size, outputs=_expected_outputs(self, input_size)
        )

    def to_json(self) -> str:
        """The contract as JSON text, fields in the order of this class.

        What only some models have is left out of the others, which earlier versions can read.
        """
        values = dataclasses.asdict(self)
        return json.dumps(
            {k: v for k, v in values.items() if v or k not in OPTIONAL}, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str, where: str = "the model file") -> "ModelContract":
        """Read a contract; ``where`` names the file in errors.

        Raises:
            ContractError: not JSON, another format version, a missing or unknown field, or
                fields that contradict each other.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ContractError(
                f"the contract in {where} is not JSON ({error}); export the model again"
            ) from None
        if not isinstance(values, dict):
            raise ContractError(f"the contract in {where} is no JSON object; export it again")
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise ContractError(
                f"{where} has contract format {version}, this version of mobileyolact reads "
                f"format {FORMAT_VERSION}; update mobileyolact or export the model again"
            )
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ContractError(
                f"the contract in {where} has unknown fields {', '.join(unknown)}; "
                "update mobileyolact or export the model again"
            )
        try:
            values["classes"] = tuple(ClassInfo(**c) for c in values["classes"])
            values["outputs"] = tuple(
                OutputInfo(**{**o, "shape": tuple(o["shape"])}) for o in values["outputs"]
            )
            if values.get("quantization"):
                values["quantization"] = Quantization(**values["quantization"])
            for name in _TUPLES:
                if name in values:
                    values[name] = tuple(values[name])
            return cls(**values)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ContractError(
                f"the contract in {where} is incomplete or damaged ({error}); "
                "export the model again"
            ) from None


def _expected_outputs(
    contract: ModelContract, input_size: tuple[int, int]
) -> tuple[OutputInfo, ...]:
    """The outputs that follow from the other fields; the prototypes' number is their own."""
    shape = contract.outputs[3].shape
    prototypes = next((number for number in shape[1:2] if isinstance(number, int)), 0)
    return output_infos(
        input_size,
        contract.strides,
        classes=len(contract.classes),
        box_values=4 * (contract.reg_max + 1) if contract.box_coding == "dfl" else 4,
        prototypes=prototypes,
        position_coefficients=contract.position_coefficients,
        prototype_stride=contract.prototype_stride,
        anchors=len(contract.anchor_ratios),
        background=contract.score_activation == "softmax",
    )


def _check_anchors(contract: ModelContract) -> None:
    scales, ratios = contract.anchor_scales, contract.anchor_ratios
    if contract.box_coding == "anchor":
        fits = len(scales) == len(contract.strides) and ratios and min((*scales, *ratios)) > 0
    else:
        fits = not scales and not ratios
    if not fits:
        raise ContractError(
            f"the contract of model '{contract.name}' has anchor_scales {scales} and anchor_ratios "
            f"{ratios}, but box_coding '{contract.box_coding}' needs "
            + (
                "one positive scale a level and at least one positive ratio"
                if contract.box_coding == "anchor"
                else "none"
            )
            + "; export the model again"
        )


def _check_shapes(contract: ModelContract) -> None:
    for stated, expected in zip(
        contract.outputs, _expected_outputs(contract, contract.input_size), strict=True
    ):
        if stated.shape != expected.shape:
            raise ContractError(
                f"the contract of model '{contract.name}' says that the output '{stated.name}' "
                f"has shape {stated.shape}, but by its input size, strides, classes, box coding, "
                f"prototypes and position_coefficients it must be {expected.shape}; "
                "export the model again"
            )


_TUPLES = (
    "input_size",
    "strides",
    "mean",
    "std",
    "fill",
    "anchor_scales",
    "anchor_ratios",
)
_CHOICES: dict[str, tuple[Any, ...]] = {
    "resize": get_args(Resize),
    "colour_order": get_args(ColourOrder),
    "box_coding": get_args(BoxCoding),
    "score_activation": get_args(ScoreActivation),
    "coefficient_activation": get_args(CoefficientActivation),
    "prototype_activation": get_args(PrototypeActivation),
    "nms": get_args(Nms),
}
