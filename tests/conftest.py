"""Contracts and models made by hand, which tests of several floors share."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from mobileyolact.contract import ClassInfo, ModelContract, output_infos
from mobileyolact.runtime.backends.base import RawOutputs

# A busy machine is no failure: examples have no time limit of their own.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

MakeContract = Callable[..., ModelContract]


@pytest.fixture(scope="session")
def make_contract() -> MakeContract:
    """A small contract whose output shapes follow from its other fields."""

    def make(prototypes: int = 2, **fields: Any) -> ModelContract:
        names = ("person", "dog", "bicycle")
        values: dict[str, Any] = {
            "name": "tiny",
            "input_size": (32, 64),
            "strides": (8, 16),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "classes": tuple(ClassInfo(i, name, 10 + i) for i, name in enumerate(names)),
            "coefficient_activation": "none",
            **fields,
        }
        bins = values.get("reg_max", 7) + 1 if values.get("box_coding", "dfl") == "dfl" else 1
        outputs = output_infos(
            values["input_size"],
            values["strides"],
            classes=len(values["classes"]),
            box_values=4 * bins,
            prototypes=prototypes,
            anchors=len(values.get("anchor_ratios", ())),
            background=values.get("score_activation") == "softmax",
        )
        return ModelContract(**{"outputs": outputs, **values})

    return make


class Squares:
    """In any picture the same squares, wholly masked, half as wide and high as the input.

    ``placed`` has for each its cell of stride 8, from whose centre it spreads, class and logit.
    """

    def __init__(self, contract: ModelContract, placed: tuple[tuple[int, int, float], ...]) -> None:
        self.contract = contract
        self.placed = placed

    def run(self, tensor: NDArray[np.float32]) -> RawOutputs:
        raw = RawOutputs(*(np.zeros(o.shape, np.float32) for o in self.contract.outputs))
        raw.scores[:] = -9
        raw.prototypes[:] = 1
        for cell, index, logit in self.placed:
            raw.scores[0, cell, index] = logit
            raw.boxes[0, cell] = 2.0  # two cells of 8 pixels to each side
            raw.coefficients[0, cell] = 3.0
        return raw

    def describe(self) -> str:
        return "squares"

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def squares(make_contract: MakeContract) -> Callable[..., Squares]:
    """A model without weights: give it (cell, class, logit), any number of them."""
    classes = (ClassInfo(0, "dog", 18), ClassInfo(1, "cat", 17))
    contract = make_contract(
        name="squares", input_size=(64, 64), classes=classes, box_coding="ltrb", reg_max=0
    )
    return lambda *placed: Squares(contract, placed)


def _write_frames(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    ticks: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    matrix: int = 2,
    pixel_ratio: Fraction = Fraction(1),
    rotation: float = 0,
    **options: str,
) -> Path:
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = time_base, pixel_ratio
        context.colorspace = matrix
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format=stream.pix_fmt, dst_colorspace="itu709" if matrix == 1 else "itu601"
            )
            frame.pts, frame.time_base = (number if ticks is None else ticks[number]), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def write_frames() -> Callable[..., Path]:
    """Writes pictures as a video with PyAV alone, in the format that the suffix says."""
    pytest.importorskip("av", reason="videos need PyAV, the extra 'video'")
    return _write_frames


@pytest.fixture(scope="session")
def moving() -> Callable[..., list[NDArray[np.uint8]]]:
    """Pictures in which a bright bar moves to the right by 8 pixels a frame."""

    def make(count: int, width: int = 96, height: int = 64) -> list[NDArray[np.uint8]]:
        frames = np.full((count, height, width, 3), 60, np.uint8)
        for number, frame in enumerate(frames):
            left = 8 * number % (width - 7)
            frame[:, left : left + 8] = 220
        return list(frames)

    return make
