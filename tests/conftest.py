"""Contracts, models, pictures and videos made by hand, which tests of several floors share."""

import json
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

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
            position_coefficients=values.get("position_coefficients", 0),
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


@pytest.fixture(scope="session")
def make_network() -> Callable[..., tuple[Any, ModelContract]]:
    """A network of a preset with random weights through which rounding errors do not grow.

    With He's weights alone a network of this depth is chaotic: float32 rounding reaches 87 dB
    and float16 weights 24 dB. Batch norm that shifts its outputs to the positive side and
    damps them keeps both near those of trained networks.
    """
    torch = pytest.importorskip("torch")
    from mobileyolact.model.network import build_contract, build_network
    from mobileyolact.model.presets import get_preset

    def make(
        preset: str = "n-320", size: int | None = None, seed: int = 0
    ) -> tuple[Any, ModelContract]:
        chosen = get_preset(preset)
        classes = tuple(ClassInfo(i, name, i + 1) for i, name in enumerate("abc"))
        network = build_network(chosen, len(classes), seed).eval()
        generator = torch.Generator().manual_seed(seed + 1)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                with torch.no_grad():
                    module.weight.uniform_(0.4, 0.6, generator=generator)
                    module.bias.uniform_(0.5, 1.5, generator=generator)
                    module.running_mean.normal_(0.0, 0.1, generator=generator)
                    module.running_var.uniform_(0.8, 1.2, generator=generator)
        with torch.no_grad():  # a new network finds nothing: its scores and boxes start flat
            for level in getattr(network.head, "levels", [network.head]):
                level.scores.weight.mul_(60)
                level.boxes.weight.mul_(10)
                if chosen.position_coefficients:  # whatever the prototypes say, masks are discs
                    level.coefficients.bias[-8:] = torch.tensor([6.0, 0, 0, -6, 0, -6, 0, 0])
        return network, build_contract(chosen, classes, (size, size) if size else None)

    return make


@pytest.fixture(scope="session")
def _tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Any]
) -> Path:
    torch = pytest.importorskip("torch")
    from mobileyolact.model.weights import save_checkpoint

    network, contract = make_network("n-320", size=64)
    with torch.no_grad():
        for level in network.head.levels:
            level.scores.bias.fill_(-2.5)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, network, contract)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path, _tiny_checkpoint: Path) -> Path:
    """A checkpoint of n-320 at 64 pixels with random weights that find a few instances."""
    return Path(shutil.copy(_tiny_checkpoint, tmp_path))


@pytest.fixture
def foreign_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Writes a network of one convolution whose input has the ``shape`` and ``type`` given."""
    onnx = pytest.importorskip("onnx")

    def write(
        shape: tuple[Any, ...] = (1, 3, 32, 64), type: str = "FLOAT", name: str = "other.onnx"
    ) -> Path:
        helper, types = onnx.helper, onnx.TensorProto
        kernel = np.ones((4, 3, 1, 1), np.float32)
        nodes = [
            helper.make_node("Cast", ["images"], ["numbers"], to=types.FLOAT),
            helper.make_node("Conv", ["numbers", "kernel"], ["output0"]),
        ]
        graph = helper.make_graph(
            nodes,
            "other",
            [helper.make_tensor_value_info("images", getattr(types, type), shape)],
            [helper.make_tensor_value_info("output0", types.FLOAT, (shape[0], 4, None, None))],
            [onnx.numpy_helper.from_array(kernel, "kernel")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def foreign_ncnn(tmp_path: Path) -> Callable[..., Path]:
    """Writes a network of one convolution whose ``Input`` layer has the parameters given."""

    def write(sides: str = "0=64 1=32 2=3", name: str = "other.param") -> Path:
        path = tmp_path / name
        path.write_text(
            "7767517\n2 2\n"
            f"Input in0 0 1 in0 {sides}\n"
            "Convolution conv 1 1 in0 out0 0=4 1=1 5=0 6=12\n"
        )
        weights = np.zeros(1, "<u4").tobytes() + np.ones(12, "<f4").tobytes()
        path.with_suffix(".bin").write_bytes(weights)
        return path

    return write


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate([(60, 90), (80, 50)]):
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(coarse).resize((width, height)).save(paths[-1])
    return paths


@pytest.fixture
def labels(checkpoint: Path, pictures: list[Path], tmp_path: Path) -> Path:
    """Labels of ``pictures`` that say what the model in ``checkpoint`` finds in them."""
    pytest.importorskip("torch")
    from mobileyolact.model.backend import TorchBackend
    from mobileyolact.runtime.predictor import Predictor

    images, annotations = [], []
    with Predictor(TorchBackend.open(checkpoint)) as predictor:
        for number, picture in enumerate(pictures):
            found = predictor(picture)
            size = {"height": found.height, "width": found.width}
            images.append({"id": number, "file_name": picture.name, **size})
            annotations += found.to_coco(number)
    for number, annotation in enumerate(annotations):
        annotation |= {"id": number, "iscrowd": 0, "area": 100.0}
    categories = [{"id": c.original_id, "name": c.name} for c in predictor.contract.classes]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def float_in_disguise(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Writers of int8 files that write float ones, fast, and checks that find them right.

    Returns:
        By format the record of layers that its writer got, once it wrote.
    """
    pytest.importorskip("torch")
    from mobileyolact.export.formats import EXPORTERS, INT8_EXPORTERS, SMALL_EXPORTERS, Exporter
    from mobileyolact.quantize import artefact  # noqa: F401  (registers all formats)
    from mobileyolact.quantize.agreement import Allowed, LayerAgreement
    from mobileyolact.quantize.engines import CHECKS

    records: dict[str, Any] = {}

    def make(name: str) -> Exporter[Any]:
        plain = EXPORTERS[name]

        def write(graph: Any, quantized: Any, contract: Any, path: Path) -> None:
            records[name] = quantized
            plain.write(graph, contract, path)

        return Exporter(name, tuple(f".int8{suffix}" for suffix in plain.suffixes), write)

    def agrees(graph: Any, quantized: Any, path: Path, image: Any) -> list[Any]:
        assert image.shape == (1, *graph.input_shape)
        return [(LayerAgreement(layer, 10, 0, 0), Allowed()) for layer in quantized.convs]

    for name in list(EXPORTERS):
        monkeypatch.setitem(INT8_EXPORTERS, name, make(name))
        monkeypatch.setitem(CHECKS, name, agrees)
    for name in ("onnx", "ncnn"):
        suffixes = tuple(f".small{suffix}" for suffix in EXPORTERS[name].suffixes)
        small = Exporter(name, suffixes, EXPORTERS[name].write)
        monkeypatch.setitem(SMALL_EXPORTERS, name, small)
    return records
