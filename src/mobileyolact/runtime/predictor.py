"""From a picture to instances in one call."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple

from mobileyolact import zoo
from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.base import Backend
from mobileyolact.runtime.image import Reduced, Source, open_reduced
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.postprocess import PostprocessOptions, postprocess
from mobileyolact.runtime.preprocess import FloatArray, Placement, preprocess

# The kind of file that a backend other than the usual one asks of the zoo.
_KINDS: dict[str, zoo.Kind] = {"ncnn": "ncnn", "torchscript": "torchscript"}

# A JPEG may be decoded at a size that is this many times that of the network's input.
_SPARE = 1.5


class Timings(NamedTuple):
    """Wall time of one prediction in milliseconds; masks count as postprocessing."""

    decode_ms: float
    preprocess_ms: float
    network_ms: float
    postprocess_ms: float


class Predictor:
    """A model that is ready to predict.

    >>> with Predictor("coco", score_threshold=0.4) as predictor:  # doctest: +SKIP
    ...     instances = predictor("photo.jpg")

    Args:
        model: a name of the zoo, the path of a model file, or an opened backend, which then
            belongs to the predictor.
        backend: ``onnxruntime``, ``ncnn`` or ``torchscript``; ``None`` chooses by the file, and
            onnxruntime for a name.
        threads: threads of the engine; ``None`` is one.
        **overrides: fields of ``PostprocessOptions`` that replace the model's defaults.

    Raises:
        OptionError: an unknown model, backend or option.
        ModelError: a missing or damaged model file.
    """

    def __init__(
        self,
        model: str | Path | Backend = "coco",
        backend: str | None = None,
        threads: int | None = None,
        **overrides: Any,
    ) -> None:
        if isinstance(model, str | Path):
            path = zoo.resolve(model, _KINDS.get(backend or ""))
            self.backend = open_backend(path, backend, threads)
        else:
            if backend is not None or threads is not None:
                raise OptionError("an opened backend has its engine and threads already")
            self.backend = model
        self.contract: ModelContract = self.backend.contract
        try:
            self.options = PostprocessOptions.from_contract(self.contract, **overrides)
        except OptionError:
            self.close()
            raise

    def __call__(self, image: Source) -> Instances:
        """Predict on anything that ``open_image`` reads."""
        tensor, placement = self._fit(self._read(image))
        return postprocess(self.backend.run(tensor), self.contract, placement, self.options)

    def timed(self, image: Source) -> tuple[Instances, Timings]:
        """Predict, make all masks, and tell how long each step took."""
        times = [perf_counter()]
        picture = self._read(image)
        times.append(perf_counter())
        tensor, placement = self._fit(picture)
        times.append(perf_counter())
        raw = self.backend.run(tensor)
        times.append(perf_counter())
        instances = postprocess(raw, self.contract, placement, self.options)
        for i in range(len(instances)):
            instances.roi(i)
        times.append(perf_counter())
        steps = pairwise(times)
        return instances, Timings(*(1000 * (end - start) for start, end in steps))

    def _read(self, image: Source) -> Reduced:
        height, width = self.contract.input_size
        return open_reduced(image, (round(_SPARE * height), round(_SPARE * width)))

    def _fit(self, picture: Reduced) -> tuple[FloatArray, Placement]:
        """The network's input, and where the whole picture lies in it."""
        tensor, placement = preprocess(picture.pixels, self.contract)
        return tensor, replace(
            placement,
            scale_x=placement.scale_x / picture.factor,
            scale_y=placement.scale_y / picture.factor,
            image_height=picture.height,
            image_width=picture.width,
        )

    def close(self) -> None:
        """Free the engine."""
        self.backend.close()

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
