"""A model without weights: it finds one cat in every picture."""

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from mobileyolact.contract import OUTPUT_NAMES, ClassInfo, ModelContract, OutputInfo
from mobileyolact.runtime.backends.base import RawOutputs

CELLS = 8 * 8 + 4 * 4 + 2 * 2 + 1
SHAPES = ((1, CELLS, 2), (1, CELLS, 4), (1, CELLS, 8), (1, 8, 16, 16))


class OneCat:
    """Gives one instance over the middle of the picture, whatever the picture shows."""

    contract = ModelContract(
        name="one-cat",
        input_size=(64, 64),
        classes=(ClassInfo(0, "dog", 18), ClassInfo(1, "cat", 17)),
        outputs=tuple(
            OutputInfo(name, shape, "float32", name)
            for name, shape in zip(OUTPUT_NAMES, SHAPES, strict=True)
        ),
        strides=(8, 16, 32, 64),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        box_coding="ltrb",
        reg_max=0,
    )

    def run(self, tensor: NDArray[np.float32]) -> RawOutputs:
        scores, boxes, coefficients, prototypes = (np.zeros(s, np.float32) for s in SHAPES)
        scores -= 9
        cell = 4 * 8 + 4  # stride 8, centre at x = y = 32 of 64
        scores[0, cell, 1] = 2.0  # a score of 0.88
        boxes[0, cell] = 2.0  # two cells of 8 pixels to each side
        coefficients[0, cell] = 3.0
        prototypes += 1
        return RawOutputs(scores, boxes, coefficients, prototypes)

    def describe(self) -> str:
        return "one cat"

    def close(self) -> None:
        pass


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def one_cat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``predict`` use ``OneCat`` for every model."""
    monkeypatch.setattr("mobileyolact.cli.predict.open_backend_for", lambda *_: OneCat())
