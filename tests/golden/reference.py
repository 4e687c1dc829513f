"""From raw outputs to instances, as slow and plain as docs/contract.md reads.

The yardstick of every runtime: plain loops over Python's 64-bit floats, no numpy, and nothing
imported from the package or taken from its code. Names in quotes are fields of the contract.
"""

import math
from dataclasses import dataclass
from typing import Any

Contract = dict[str, Any]
Grid = list[list[float]]
Box = tuple[float, float, float, float]


@dataclass
class Found:
    """One (row, class) pair above "score_threshold": box xyxy in picture pixels."""

    score: float
    class_index: int
    row: int
    box: Box


@dataclass
class Placement:
    """input = picture * scale + offset, for x and y, in pixels from edge to edge."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def place(contract: Contract, height: int, width: int) -> Placement:
    """Where a picture of this size lies in the input."""
    input_height, input_width = contract["input_size"]
    if contract["resize"] == "stretch":
        return Placement(input_width / width, input_height / height, 0, 0)
    scale = min(input_width / width, input_height / height)
    resized_width = max(round(width * scale), 1)
    resized_height = max(round(height * scale), 1)
    return Placement(
        resized_width / width,
        resized_height / height,
        (input_width - resized_width) // 2,
        (input_height - resized_height) // 2,
    )


def cells(contract: Contract) -> list[tuple[float, float, int]]:
    """Centre x, y in input pixels and stride of every cell."""
    height, width = contract["input_size"]
    offset = contract["centre_offset"]
    result = []
    for stride in contract["strides"]:
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                result.append(((column + offset) * stride, (row + offset) * stride, stride))
    return result


def anchors(contract: Contract) -> list[tuple[float, float, float, float]]:
    """Centre x, y, width and height in input pixels of every anchor."""
    height, width = contract["input_size"]
    result = []
    for stride, scale in zip(contract["strides"], contract["anchor_scales"], strict=True):
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        for row in range(rows):
            for column in range(columns):
                x, y = (column + 0.5) * width / columns, (row + 0.5) * height / rows
                for ratio in contract["anchor_ratios"]:
                    result.append((x, y, scale * math.sqrt(ratio), scale / math.sqrt(ratio)))
    return result


def distances(contract: Contract, numbers: list[float]) -> list[float]:
    """Left, top, right, bottom in units of the stride, from the raw numbers of one cell."""
    if contract["box_coding"] == "ltrb":
        return list(numbers)
    bins = contract["reg_max"] + 1
    result = []
    for side in range(4):
        weights = [math.exp(logit) for logit in numbers[side * bins : (side + 1) * bins]]
        mean = sum(index * weight for index, weight in enumerate(weights)) / sum(weights)
        result.append(mean)
    return result


def input_boxes(contract: Contract, boxes: Grid) -> list[Box]:
    """The box of every row, xyxy in input pixels."""
    result = []
    if contract["box_coding"] == "anchor":
        for (x, y, width, height), numbers in zip(anchors(contract), boxes, strict=True):
            x, y = x + 0.1 * numbers[0] * width, y + 0.1 * numbers[1] * height
            width, height = width * math.exp(0.2 * numbers[2]), height * math.exp(0.2 * numbers[3])
            result.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    else:
        for (x, y, stride), numbers in zip(cells(contract), boxes, strict=True):
            left, top, right, bottom = (side * stride for side in distances(contract, numbers))
            result.append((x - left, y - top, x + right, y + bottom))
    return result


def probabilities(contract: Contract, logits: list[float]) -> list[float]:
    """The score of every class in one row."""
    if contract["score_activation"] == "sigmoid":
        return [sigmoid(logit) for logit in logits]
    weights = [math.exp(logit) for logit in logits]
    return [weight / sum(weights) for weight in weights[1:]]


def find(contract: Contract, scores: Grid, boxes: Grid, height: int, width: int) -> list[Found]:
    """Every (row, class) pair that scores enough and whose box touches the picture."""
    placement = place(contract, height, width)
    found = []
    for row, box in enumerate(input_boxes(contract, boxes)):
        for class_index, score in enumerate(probabilities(contract, scores[row])):
            if score < contract["score_threshold"]:
                continue
            x1, x2 = ((side - placement.offset_x) / placement.scale_x for side in box[::2])
            y1, y2 = ((side - placement.offset_y) / placement.scale_y for side in box[1::2])
            x1, x2 = (min(max(side, 0.0), float(width)) for side in (x1, x2))
            y1, y2 = (min(max(side, 0.0), float(height)) for side in (y1, y2))
            if x1 < x2 and y1 < y2:
                found.append(Found(score, class_index, row, (x1, y1, x2, y2)))
    return found


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either


def suppress(contract: Contract, found: list[Found]) -> list[Found]:
    """Non-maximum suppression within each class, then the best "max_detections"."""
    kept: list[Found] = []
    better: list[Found] = []
    for candidate in sorted(found, key=lambda one: -one.score):
        # "exact": only what was kept can drop others. "fast": whatever scores more does.
        rivals = kept if contract["nms"] == "exact" else better
        if all(
            overlap(rival.box, candidate.box) <= contract["nms_threshold"]
            for rival in rivals
            if rival.class_index == candidate.class_index
        ):
            kept.append(candidate)
        better.append(candidate)
    return kept[: contract["max_detections"]]


def mask_logits(contract: Contract, coefficients: list[float], prototypes: list[Grid]) -> Grid:
    """The mask logit of one instance at every prototype cell."""
    if contract["coefficient_activation"] == "tanh":
        coefficients = [math.tanh(value) for value in coefficients]
    rows, columns = len(prototypes[0]), len(prototypes[0][0])
    logits = [[0.0] * columns for _ in range(rows)]
    for coefficient, prototype in zip(coefficients, prototypes, strict=True):
        for row in range(rows):
            for column in range(columns):
                value = prototype[row][column]
                if contract["prototype_activation"] == "relu":
                    value = max(value, 0.0)
                logits[row][column] += coefficient * value
    return logits


def with_position(
    contract: Contract, logits: Grid, coefficients: list[float], box: Box, height: int, width: int
) -> Grid:
    """The logits with what the place of a cell in the box says, for eight coefficients."""
    placement = place(contract, height, width)
    stride = contract["prototype_stride"]
    result = [list(line) for line in logits]
    for row, line in enumerate(result):
        for column in range(len(line)):
            x = ((column + 0.5) * stride - placement.offset_x) / placement.scale_x
            y = ((row + 0.5) * stride - placement.offset_y) / placement.scale_y
            u = min(max(2 * (x - box[0]) / (box[2] - box[0]) - 1, -1), 1)
            v = min(max(2 * (y - box[1]) / (box[3] - box[1]) - 1, -1), 1)
            terms = (1, u, v, u * u, u * v, v * v, u * u * v, u * v * v)
            line[column] += sum(c * term for c, term in zip(coefficients, terms, strict=True))
    return result


def neighbours(rows: int, columns: int, x: float, y: float) -> list[tuple[int, int, float]]:
    """The cells that a value at (x, y) is made of, and their bilinear weights.

    Cell (row, column) has its centre at (column, row) + 0.5. Beyond the outermost centres the
    values at the border go on.
    """
    x = min(max(x - 0.5, 0.0), columns - 1.0)
    y = min(max(y - 0.5, 0.0), rows - 1.0)
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    return [
        (top, left, (1 - (y - top)) * (1 - (x - left))),
        (top, right, (1 - (y - top)) * (x - left)),
        (bottom, left, (y - top) * (1 - (x - left))),
        (bottom, right, (y - top) * (x - left)),
    ]


def sources(
    contract: Contract, logits: Grid, box: Box, height: int, width: int
) -> dict[tuple[int, int], list[tuple[int, int, float]]]:
    """For each pixel of the box, the prototype cells that it is made of."""
    placement = place(contract, height, width)
    stride = contract["prototype_stride"]
    return {
        (row, column): neighbours(
            len(logits),
            len(logits[0]),
            ((column + 0.5) * placement.scale_x + placement.offset_x) / stride,
            ((row + 0.5) * placement.scale_y + placement.offset_y) / stride,
        )
        for row in range(height)
        for column in range(width)
        if box[0] <= column + 0.5 < box[2] and box[1] <= row + 0.5 < box[3]
    }


def pixel_logits(contract: Contract, logits: Grid, box: Box, height: int, width: int) -> Grid:
    """The mask logit at the centre of every picture pixel, minus infinity outside of the box."""
    result = [[-math.inf] * width for _ in range(height)]
    for (row, column), cells in sources(contract, logits, box, height, width).items():
        result[row][column] = sum(logits[y][x] * weight for y, x, weight in cells)
    return result


def cut(contract: Contract, logits: Grid, box: Box, height: int, width: int) -> float:
    """The logit above which a pixel of an instance belongs to its mask."""
    threshold = contract["mask_threshold"]
    if threshold is None:
        threshold = dice_threshold(logits, cell_weights(contract, logits, box, height, width))
    return math.log(threshold / (1 - threshold))


def without_islands(
    contract: Contract, logits: Grid, box: Box, height: int, width: int, threshold: float
) -> Grid:
    """The logits with small islands above ``threshold``, a logit, put below it."""
    if contract["mask_threshold"] is not None:
        return logits
    used = {
        (y, x)
        for cells in sources(contract, logits, box, height, width).values()
        for y, x, _ in cells
    }
    left = {(y, x) for y, x in used if logits[y][x] > threshold}
    islands = []
    while left:
        island, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            island.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        islands.append(island)
    result = [list(line) for line in logits]
    for island in islands:
        if len(island) < 0.15 * max(map(len, islands)):
            for y, x in island:
                result[y][x] = threshold - 1
    return result


def cell_weights(contract: Contract, logits: Grid, box: Box, height: int, width: int) -> Grid:
    """The share of each prototype cell that the box covers."""
    placement = place(contract, height, width)
    stride = contract["prototype_stride"]
    x1, x2 = ((x * placement.scale_x + placement.offset_x) / stride for x in (box[0], box[2]))
    y1, y2 = ((y * placement.scale_y + placement.offset_y) / stride for y in (box[1], box[3]))
    return [
        [
            max(min(x2, column + 1) - max(x1, column), 0) * max(min(y2, row + 1) - max(y1, row), 0)
            for column in range(len(logits[0]))
        ]
        for row in range(len(logits))
    ]


def dice_threshold(logits: Grid, weights: Grid) -> float:
    """Half of the greatest Dice coefficient that can be expected, at least 0.2."""
    cells = [
        (1 / (1 + math.exp(-logit)), weight)
        for line, heavy in zip(logits, weights, strict=True)
        for logit, weight in zip(line, heavy, strict=True)
    ]
    threshold = 0.5
    for _ in range(8):
        kept = [(p, w) for p, w in cells if p > threshold]
        size = sum(p * w for p, w in cells) + sum(w for _, w in kept)
        threshold = sum(p * w for p, w in kept) / size if size else 0.0
    return max(threshold, 0.2)


def run_lengths(mask: list[list[bool]]) -> dict[str, Any]:
    """COCO's compressed run lengths: columns first, the first run is of zeros."""
    height, width = len(mask), len(mask[0])
    counts, value, length = [], False, 0
    for column in range(width):
        for row in range(height):
            if mask[row][column] != value:
                counts.append(length)
                value, length = not value, 0
            length += 1
    counts.append(length)
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        while True:
            digit, number = number & 0x1F, number >> 5
            more = number != (-1 if digit & 0x10 else 0)
            text += chr(48 + digit + (0x20 if more else 0))
            if not more:
                break
    return {"size": [height, width], "counts": text}
