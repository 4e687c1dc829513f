"""Write the cases in postprocess/ again: ``python tests/golden/make.py [FOLDER]``.

Raw outputs are drawn from a seed, rounded so that every machine draws the same; what is expected
of them comes from ``reference.py``. README.md describes the files.
"""

import base64
import itertools
import json
import math
import random
import struct
import sys
from pathlib import Path
from typing import Any

import reference as ref

FOLDER = Path(__file__).parent / "postprocess"
CLASSES = ("person", "dog", "bicycle")
PROTOTYPES = 4
PROTOTYPE_STRIDE = 4
REG_MAX = 7

# Boxes xyxy as parts of the picture: class, box, logit of its score, level. The first three are a
# chain in which only neighbours overlap too much; the fourth overlaps them in another class; the
# fifth stands over the edges of the picture, and its cell scores for two classes.
OBJECTS = (
    (0, (0.10, 0.15, 0.55, 0.70), 2.6, 0),
    (0, (0.19, 0.15, 0.64, 0.70), 1.9, 1),
    (0, (0.28, 0.17, 0.73, 0.72), 1.2, 0),
    (1, (0.17, 0.12, 0.60, 0.66), 0.8, 0),
    (2, (0.55, 0.50, 1.10, 1.08), 3.1, 1),
    (1, (0.60, 0.10, 0.90, 0.45), 0.3, 0),
    (2, (0.30, 0.70, 0.60, 0.95), -0.4, 1),
)
SECOND_CLASS = {4: (0, 1.5)}

CASES: dict[str, dict[str, Any]] = {
    "dfl-stretch-exact": {
        "seed": 3,
        "picture": (50, 83),
        "input_size": (64, 64),
        "coefficient_activation": "tanh",
    },
    "ltrb-letterbox-fast": {
        "seed": 8,
        "picture": (120, 77),
        "input_size": (64, 96),
        "box_coding": "ltrb",
        "resize": "letterbox",
        "nms": "fast",
        "centre_offset": 0.5,
        "prototype_activation": "relu",
    },
    # Levels whose last column is cut by the input's edge, and fewer instances than there are.
    "dfl-letterbox-fast": {
        "seed": 8,
        "picture": (41, 90),
        "input_size": (64, 72),
        "resize": "letterbox",
        "nms": "fast",
        "centre_offset": 0.5,
        "coefficient_activation": "tanh",
        "prototype_activation": "relu",
        "max_detections": 4,
    },
    "ltrb-stretch-exact": {
        "seed": 6,
        "picture": (97, 110),
        "input_size": (64, 96),
        "box_coding": "ltrb",
        "mask_threshold": 0.6,
        "score_threshold": 0.55,
    },
    # Three of its masks have small islands.
    "dfl-stretch-dice": {
        "seed": 8,
        "picture": (70, 83),
        "input_size": (64, 64),
        "coefficient_activation": "tanh",
        "mask_threshold": None,
    },
    "ltrb-letterbox-position": {
        "seed": 1,
        "picture": (70, 103),
        "input_size": (64, 96),
        "resize": "letterbox",
        "box_coding": "ltrb",
        "coefficient_activation": "tanh",
        "position_coefficients": 8,
        "mask_threshold": None,
    },
    # No stride divides the input: cells are a little smaller than the stride.
    "anchor-softmax-fast": {
        "seed": 5,
        "picture": (90, 111),
        "input_size": (60, 90),
        "box_coding": "anchor",
        "anchor_scales": [14.5, 29.0],
        "anchor_ratios": [1, 0.5, 2],
        "score_activation": "softmax",
        "coefficient_activation": "tanh",
        "prototype_activation": "relu",
        "nms": "fast",
        "score_threshold": 0.15,
    },
    "anchor-sigmoid-exact": {
        "seed": 2,
        "picture": (75, 52),
        "input_size": (64, 64),
        "resize": "letterbox",
        "box_coding": "anchor",
        "anchor_scales": [12, 24],
        "anchor_ratios": [1, 3],
    },
}


def contract_of(name: str, fields: dict[str, Any]) -> ref.Contract:
    """The contract of a case, every field written out."""
    contract = {
        "name": name,
        "input_size": None,
        "classes": [
            {"index": i, "name": text, "original_id": 10 + i} for i, text in enumerate(CLASSES)
        ],
        "outputs": None,
        "strides": [8, 16],
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "colour_order": "rgb",
        "resize": "stretch",
        "fill": [114, 114, 114],
        "box_coding": "dfl",
        "reg_max": REG_MAX,
        "centre_offset": 0.0,
        "prototype_stride": PROTOTYPE_STRIDE,
        "score_activation": "sigmoid",
        "coefficient_activation": "none",
        "prototype_activation": "none",
        "score_threshold": 0.3,
        "nms": "exact",
        "nms_threshold": 0.5,
        "mask_threshold": 0.5,
        "max_detections": 100,
        "provenance": {},
        "quantization": None,
        "format_version": 1,
        **fields,
    }
    count = len(_rows(contract))
    numbers = 4 * (REG_MAX + 1) if contract["box_coding"] == "dfl" else 4
    background = contract["score_activation"] == "softmax"
    rows, columns = (math.ceil(side / PROTOTYPE_STRIDE) for side in contract["input_size"])
    shapes = {
        "scores": [1, count, len(CLASSES) + background],
        "boxes": [1, count, numbers],
        "coefficients": [1, count, PROTOTYPES + contract.get("position_coefficients", 0)],
        "prototypes": [1, PROTOTYPES, rows, columns],
    }
    contract["outputs"] = [
        {"name": output, "shape": shape, "dtype": "float32", "meaning": ""}
        for output, shape in shapes.items()
    ]
    return contract


def _rows(contract: ref.Contract) -> list[tuple[float, float, int]]:
    """Centre x, y and stride of what each row of the outputs belongs to."""
    anchors = len(contract.get("anchor_ratios", [1]))
    rows = [cell for cell in ref.cells(contract) for _ in range(anchors)]
    if contract["box_coding"] != "anchor":
        return rows
    centres = [anchor[:2] for anchor in ref.anchors(contract)]
    return [(x, y, stride) for (x, y), (_, _, stride) in zip(centres, rows, strict=True)]


def draw(contract: ref.Contract, height: int, width: int, rng: random.Random) -> dict[str, Any]:
    """Raw outputs with ``OBJECTS`` in them, as nested lists without the batch dimension."""
    rows = _rows(contract)
    scores = [[rng.uniform(-7, -4) for _ in CLASSES] for _ in rows]
    boxes = [_anything(contract, rng) for _ in rows]
    coefficients = [
        [rng.uniform(-2, 2) for _ in range(contract["outputs"][2]["shape"][2])] for _ in rows
    ]
    placement = ref.place(contract, height, width)
    scales = (placement.scale_x * width, placement.scale_y * height) * 2
    offsets = (placement.offset_x, placement.offset_y) * 2
    taken: set[int] = set()
    for number, (class_index, box, logit, level) in enumerate(OBJECTS):
        x1, y1, x2, y2 = (
            part * scale + offset + rng.uniform(-0.5, 0.5)
            for part, scale, offset in zip(box, scales, offsets, strict=True)
        )
        free = [
            (math.hypot(x - (x1 + x2) / 2, y - (y1 + y2) / 2), row)
            for row, (x, y, stride) in enumerate(rows)
            if stride == contract["strides"][level] and row not in taken
        ]
        row = min(free)[1]
        taken.add(row)
        scores[row][class_index] = logit + rng.uniform(-0.2, 0.2)
        if number in SECOND_CLASS:
            scores[row][SECOND_CLASS[number][0]] = SECOND_CLASS[number][1]
        boxes[row] = _code(contract, row, (x1, y1, x2, y2), rng)
    if contract["score_activation"] == "softmax":
        # Logits against the background, whatever its own is.
        for row, logits in enumerate(scores):
            background = rng.uniform(-3, 3)
            scores[row] = [background, *(background + logit for logit in logits)]
    shape = contract["outputs"][3]["shape"][2:]
    prototypes = [_smooth(*shape, rng) for _ in range(PROTOTYPES)]
    raw = {
        "scores": scores,
        "boxes": boxes,
        "coefficients": coefficients,
        "prototypes": prototypes,
    }
    return {name: _rounded(values) for name, values in raw.items()}


def _anything(contract: ref.Contract, rng: random.Random) -> list[float]:
    """Raw numbers of some box."""
    if contract["box_coding"] == "anchor":
        return [rng.uniform(-3, 3) for _ in range(4)]
    return _spread(contract, [rng.uniform(0, 4) for _ in range(4)], rng)


def _code(contract: ref.Contract, row: int, box: ref.Box, rng: random.Random) -> list[float]:
    """Raw numbers of a row whose box, in input pixels, is about ``box``."""
    x1, y1, x2, y2 = box
    if contract["box_coding"] == "anchor":
        x, y, width, height = ref.anchors(contract)[row]
        return [
            ((x1 + x2) / 2 - x) / width / 0.1,
            ((y1 + y2) / 2 - y) / height / 0.1,
            math.log((x2 - x1) / width) / 0.2,
            math.log((y2 - y1) / height) / 0.2,
        ]
    x, y, stride = ref.cells(contract)[row]
    sides = [(x - x1) / stride, (y - y1) / stride, (x2 - x) / stride, (y2 - y) / stride]
    return _spread(contract, sides, rng)


def _spread(contract: ref.Contract, sides: list[float], rng: random.Random) -> list[float]:
    """Raw numbers whose distances are about ``sides``, in units of the stride."""
    if contract["box_coding"] == "ltrb":
        return sides
    return [
        -2 * (index - side) ** 2 + rng.uniform(-0.1, 0.1)
        for side in sides
        for index in range(REG_MAX + 1)
    ]


def _smooth(rows: int, columns: int, rng: random.Random) -> ref.Grid:
    waves = [(rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, 2 * math.pi)) for _ in "123"]
    return [
        [
            sum(math.cos(0.7 * (down * row + across * column) + at) for down, across, at in waves)
            for column in range(columns)
        ]
        for row in range(rows)
    ]


def _rounded(values: Any) -> Any:
    """Multiples of 1/256: exact as float32, and no library's last digit is left in them."""
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return round(values * 256) / 256


def expect(contract: ref.Contract, raw: dict[str, Any], height: int, width: int) -> list[Any]:
    """The instances that the reference finds, as ``expected.json`` lists them."""
    found = ref.find(contract, raw["scores"], raw["boxes"], height, width)
    _check_margins(contract, found)
    instances = []
    for one in ref.suppress(contract, found):
        count = len(raw["prototypes"])
        coefficients = raw["coefficients"][one.row]
        logits = ref.mask_logits(contract, coefficients[:count], raw["prototypes"])
        if "position_coefficients" in contract:
            position = coefficients[count:]
            logits = ref.with_position(contract, logits, position, one.box, height, width)
        cut = ref.cut(contract, logits, one.box, height, width)
        # Whether a cell is one of an island.
        level = min(abs(logit - cut) for line in logits for logit in line if logit != cut)
        _check(level > 1e-4, "a cell is at the cut")
        logits = ref.without_islands(contract, logits, one.box, height, width, cut)
        pixels = ref.pixel_logits(contract, logits, one.box, height, width)
        # At the cut itself, where all prototypes are rectified to 0, there is nothing to round.
        clear = all(x == cut or abs(x - cut) > 1e-4 for row in pixels for x in row)
        _check(clear, "a pixel is at the cut")
        instances.append(
            {
                "class_index": one.class_index,
                "score": round(one.score, 7),
                "box": [round(side, 5) for side in one.box],
                "mask": ref.run_lengths([[x > cut for x in row] for row in pixels]),
            }
        )
    return instances


def _check_margins(contract: ref.Contract, found: list[ref.Found]) -> None:
    """Refuse a case whose answer would hang on the last digits of 32-bit floats."""
    scores = [one.score for one in found] + [contract["score_threshold"]]
    apart = all(abs(a - b) > 1e-4 for a, b in itertools.combinations(scores, 2))
    _check(apart, "two scores are equal, or one is at the threshold")
    for a, b in itertools.combinations(found, 2):
        margin = abs(ref.overlap(a.box, b.box) - contract["nms_threshold"])
        _check(a.class_index != b.class_index or margin > 1e-3, "an overlap is at the threshold")
    for one in found:
        centred = any(abs(side % 1 - 0.5) < 1e-3 for side in one.box)
        _check(not centred, "a side of a box runs through centres of pixels")
    unlimited = {**contract, "max_detections": len(found)}
    counts = {len(ref.suppress({**unlimited, "nms": kind}, found)) for kind in ("exact", "fast")}
    _check(len(counts) == 2, "'exact' and 'fast' give the same")


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(f"{problem}: take another seed")


def packed(values: Any) -> bytes:
    """Nested lists as little-endian float32, last dimension fastest."""
    if isinstance(values, list):
        return b"".join(packed(value) for value in values)
    return struct.pack("<f", values)


def main(folder: Path) -> None:
    """Write every case into ``folder``."""
    for name, case in CASES.items():
        fields = {key: case[key] for key in case if key not in ("seed", "picture")}
        contract = contract_of(name, fields)
        height, width = case["picture"]
        raw = draw(contract, height, width, random.Random(case["seed"]))
        outputs = {
            info["name"]: {
                "shape": info["shape"],
                "float32": base64.b64encode(packed(raw[info["name"]])).decode("ascii"),
            }
            for info in contract["outputs"]
        }
        picture = {"height": height, "width": width}
        files = {
            "contract.json": contract,
            "raw.json": {"picture": picture, "outputs": outputs},
            "expected.json": {"instances": expect(contract, raw, height, width)},
        }
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            text = json.dumps(content, indent=1) + "\n"
            (folder / name / file).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
