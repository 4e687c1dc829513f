"""From a checkpoint to quantized files: all of them checked and measured, or none at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mobileyolact.errors import ImageError, LabelError, ModelError, OptionError, ParityError
from mobileyolact.export.formats import EXPORTERS, SMALL_EXPORTERS, Exporter
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.export.trace import build_graph
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.weights import load_checkpoint, save_checkpoint
from mobileyolact.quantize import measuring
from mobileyolact.quantize.agreement import Allowed, LayerAgreement
from mobileyolact.quantize.artefact import kept_float, quantize_artefacts, write_small_artefacts
from mobileyolact.quantize.engines import CHECKS
from mobileyolact.quantize.scope import behind_the_first, choose_convs
from mobileyolact.quantize.timing import ROUNDS, network_times
from mobileyolact.runtime.backends import open_backend

FORMATS = ["onnx", "ncnn"]
Records = dict[str, Any]


@pytest.fixture(autouse=True)
def records(float_in_disguise: Records, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setattr("mobileyolact.quantize.timing.ROUNDS", 3)
    return float_in_disguise


def test_all_files_exist_and_say_what_was_measured(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, records: Records
) -> None:
    out = tmp_path / "a" / "b"
    found = quantize_artefacts(checkpoint, out, pictures)
    assert {a.format for a in found} == {"onnx", "ncnn", "torchscript"}
    onnx, ncnn = (next(a for a in found if a.format == format) for format in FORMATS)
    assert [file.name for file in ncnn.files] == [
        "tiny.int8.ncnn.param",
        "tiny.int8.ncnn.bin",
        "tiny.int8.ncnn.json",
        "tiny.int8.ncnn.measured.json",
    ]
    assert {path for a in found for path in a.files} == set(out.iterdir())
    assert onnx.bytes == onnx.files[0].stat().st_size
    assert onnx.share == pytest.approx(onnx.bytes / (4 * weights_of(checkpoint)))
    assert onnx.float_ms > 0
    assert onnx.judgement.agreement is not None
    assert onnx.judgement.agreement.images == 2
    assert onnx.judgement.agreement.mean_mask_iou == pytest.approx(1, abs=0.01)
    note = json.loads(onnx.files[1].read_text())
    assert note["checkpoint"] == "tiny.safetensors"
    assert note["quantization"] == {"scope": "full", "method": "ptq"}
    assert note["calibration_pictures"] == 2
    assert note["integer_convolutions"] == len(records["onnx"].convs)
    layers = {"compared": len(records["onnx"].convs), "pictures": 2, "differing": 0, "largest": 0}
    assert note["layers"] == {**layers, "codes": 20 * len(records["onnx"].convs)}
    assert note["agreement"]["instances"] == onnx.judgement.agreement.instances > 0
    assert note["milliseconds"]["quantized"] == round(onnx.ms, 2)
    backend = open_backend(onnx.files[0])
    assert backend.contract.quantization == records["onnx"].summary


def weights_of(checkpoint: Path) -> int:
    """Numbers in kernels and biases once batch norm is folded: one bias a norm."""
    network, _ = load_checkpoint(checkpoint)
    return sum(
        p.numel() for name, p in network.named_parameters() if not name.endswith("norm.weight")
    )


def test_labels_give_average_precision_of_both(
    checkpoint: Path, pictures: list[Path], labels: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools")
    told = []
    dataset = read_labels(labels)
    found = quantize_artefacts(
        checkpoint,
        tmp_path / "out",
        pictures,
        formats=FORMATS,
        labels=dataset,
        progress=lambda *step: told.append(step),
    )
    for one in found:
        difference = one.judgement.differences["AP50"]
        assert difference.a == pytest.approx(1), "the labels are what the float model finds"
        assert difference.b == pytest.approx(difference.a + difference.difference)
        assert difference.low <= difference.difference <= difference.high
        note = json.loads(one.files[-1].read_text())["mask"]
        assert (note["labels"], note["images"]) == ("labels.json", 2)
        assert note["AP50"]["quantized"] == difference.b
    assert ("evaluate float", 2, 2) in told


def test_labels_of_a_class_that_the_model_does_not_know(
    checkpoint: Path, pictures: list[Path], labels: Path, tmp_path: Path
) -> None:
    content = json.loads(labels.read_text())
    content["categories"][1]["name"] = "zebra"
    content["annotations"][0]["category_id"] = 2
    labels.write_text(json.dumps(content))
    with pytest.raises(LabelError, match=r"does not know the class 'zebra' of .*labels\.json"):
        quantize_artefacts(checkpoint, tmp_path / "out", pictures, labels=read_labels(labels))
    content["annotations"] = [x for x in content["annotations"] if x["category_id"] != 2]
    labels.write_text(json.dumps(content))
    measuring.check_classes(read_labels(labels), load_checkpoint(checkpoint)[1])


def test_a_layer_that_differs_leaves_the_folder_as_it_was(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [(LayerAgreement("head.7", 100, 2, 1), Allowed(share=0.01, largest=1))]
    monkeypatch.setitem(CHECKS, "ncnn", lambda *_: wrong)
    out = tmp_path / "out"
    out.mkdir()
    (out / "tiny.int8.onnx").write_text("an older file")
    with pytest.raises(ParityError, match=r"ncnn, layer 'head\.7' of tiny\.int8\.ncnn\.param"):
        quantize_artefacts(checkpoint, out, pictures, formats=FORMATS)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("tiny.int8.onnx", "an older file")]


@pytest.mark.parametrize(
    ("depthwise", "machine", "kept"),
    [
        ("auto", "x86_64", True),
        ("auto", "AMD64", True),
        ("auto", "aarch64", False),
        ("on", "x86_64", False),
        ("off", "arm64", True),
    ],
)
def test_depthwise_convolutions_of_ncnn(
    depthwise: str, machine: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    graph = depthwise_and_pointwise()
    assert kept_float(graph, "ncnn", depthwise) == (["depthwise"] if kept else [])
    assert kept_float(graph, "onnx", depthwise) == [], "other engines know no reason"


def depthwise_and_pointwise() -> Graph:
    def conv(name: str, source: str, group_channels: int) -> Conv:
        weight = np.ones((3, group_channels, 1, 1), np.float32)
        bias, groups = np.zeros(3, np.float32), 3 // group_channels
        return Conv(
            name=name, inputs=(source,), outputs=(name,), weight=weight, bias=bias, groups=groups
        )

    layers = (conv("depthwise", "image", 1), conv("pointwise", "depthwise", 3))
    return Graph(layers, (3, 8, 8), ("pointwise",))


def test_depthwise_convolutions_are_left_out_of_the_record_of_ncnn(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, records: Records
) -> None:
    quantize_artefacts(checkpoint, tmp_path / "out", pictures, formats=FORMATS, depthwise="off")
    layers = measuring.read_float_model(checkpoint, None, None).graph.layers
    grouped = {layer.name for layer in layers if isinstance(layer, Conv) and layer.groups > 1}
    assert grouped & set(records["onnx"].convs)
    assert set(records["ncnn"].convs) == set(records["onnx"].convs) - grouped


def test_the_scope_backbone(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, records: Records
) -> None:
    (one,) = quantize_artefacts(
        checkpoint, tmp_path / "out", pictures, formats=["onnx"], scope="backbone"
    )
    assert records["onnx"].convs
    assert all(name.startswith("backbone.") for name in records["onnx"].convs)
    assert json.loads(one.files[-1].read_text())["quantization"]["scope"] == "backbone"


def test_trained_weights_are_written_and_compared_with_the_float_model(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, records: Records
) -> None:
    given = []

    def train(model: Any, record: Any) -> Path:
        given.append(record)
        for level in model.network.head.levels:
            level.scores.bias.data.fill_(-200.0)
        path = tmp_path / "best.safetensors"
        save_checkpoint(path, model.network, model.contract)
        return path

    found = quantize_artefacts(
        checkpoint, tmp_path / "out", pictures, formats=["onnx"], train=train
    )
    assert found[0].files[0].name == "tiny.int8.onnx"
    assert found[0].judgement.agreement is not None
    assert found[0].judgement.agreement.instances > 0, "the float model finds some"
    assert found[0].judgement.agreement.matched_fraction == 0
    assert records["onnx"].summary.method == "qat"
    known, written = given[0].tensors, records["onnx"].tensors
    both = known.keys() & written.keys()
    assert both >= {layer for layer in given[0].convs if layer in known}
    assert {x: written[x] for x in both} == {x: known[x] for x in both}, "what training knew"


def test_untrained_weights_are_rounded_together_and_readers_of_the_stem_stay_float(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, records: Records
) -> None:
    network, contract = load_checkpoint(checkpoint)
    graph = build_graph(network, contract)
    readers = set(behind_the_first(graph)) & choose_convs(graph, "full")
    assert readers, "training may have int8 ones"

    def codes(record: Any) -> dict[str, list[int]]:
        """In an order that does not depend on that of channels, which zeros may fill up."""
        kernels = {name: conv.weight for name, conv in record.convs.items()}
        return {name: sorted(x[x != 0].tolist()) for name, x in kernels.items()}

    quantize_artefacts(checkpoint, tmp_path / "ptq", pictures, formats=["onnx"])
    untrained = codes(records["onnx"])
    given = []

    def train(model: Any, record: QuantizedLayers) -> Path:
        given.append(record)
        save_checkpoint(tmp_path / "same.safetensors", model.network, model.contract)
        return tmp_path / "same.safetensors"

    quantize_artefacts(checkpoint, tmp_path / "qat", pictures, formats=["onnx"], train=train)
    trained = codes(records["onnx"])
    assert trained.keys() - untrained.keys() == readers and trained.keys() > untrained.keys()
    assert trained == codes(given[0]), "what training knew"
    same = [name for name in untrained if untrained[name] == trained[name]]
    assert len(same) < len(untrained) / 2


def test_another_input_size(checkpoint: Path, pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (one,) = quantize_artefacts(checkpoint, out, pictures, formats=["onnx"], size=(96, 128))
    assert one.files[0].name == "tiny-128x96.int8.onnx"
    assert open_backend(one.files[0]).contract.input_size == (96, 128)


def test_small_files_are_compared_with_the_float_model(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    found = write_small_artefacts(checkpoint, out, pictures)
    assert {a.files[0].name for a in found} == {"tiny.small.onnx", "tiny.small.ncnn.param"}
    note = json.loads((out / "tiny.small.onnx.measured.json").read_text())
    assert note["quantization"] == {"scope": "weights", "method": "rounding"}
    assert note["parity"]["outputs"][0]["snr_db"] > note["bounds"]["min_snr_db"]

    def write_wrong(graph: Any, contract: Any, path: Path) -> None:
        last = [layer for layer in graph.layers if isinstance(layer, Conv)][-1].weight
        last *= 2
        EXPORTERS["onnx"].write(graph, contract, path)

    monkeypatch.setitem(SMALL_EXPORTERS, "onnx", Exporter("onnx", (".small.onnx",), write_wrong))
    with pytest.raises(ParityError, match=r"tiny\.small\.onnx differs .*dB \(at least 10\.0\)"):
        write_small_artefacts(checkpoint, tmp_path / "new", pictures)
    assert not (tmp_path / "new").exists()


def test_numbers_that_are_not_finite(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    network, contract = load_checkpoint(checkpoint)
    next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)).bias.data[0] = np.inf
    save_checkpoint(checkpoint, network, contract)
    with pytest.raises(ModelError, match="NaN or infinity"):
        quantize_artefacts(checkpoint, tmp_path / "out", pictures)
    assert not (tmp_path / "out").exists()


def test_a_layer_that_is_not_known(
    make_network: Callable[..., Any],
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, contract = make_network("n-320", size=64)
    network.backbone.stem.act = torch.nn.SiLU()
    monkeypatch.setattr(measuring, "load_checkpoint", lambda _: (network, contract))
    with pytest.raises(ModelError, match=r"do not know SiLU\(\) at 'backbone\.stem'"):
        quantize_artefacts(tmp_path / "silu.safetensors", tmp_path / "out", pictures)
    assert not (tmp_path / "out").exists()


def test_unknown_names_give_the_nearest(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    for options, message in (
        ({"formats": ["onnx", "nccn"]}, "no export format 'nccn'; the nearest one is 'ncnn'"),
        ({"scope": "backbon"}, "no scope 'backbon'; the nearest one is 'backbone' of full"),
        ({"depthwise": "of"}, "depthwise convolutions 'of'; the nearest one is 'off' of auto"),
        ({"formats": []}, "at least one format"),
    ):
        with pytest.raises(OptionError, match=message):
            quantize_artefacts(checkpoint, tmp_path / "out", pictures, **options)  # type: ignore
    with pytest.raises(OptionError, match="at least one picture"):
        quantize_artefacts(checkpoint, tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_read(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    pictures[1].write_text("no picture")
    with pytest.raises(ImageError, match=pictures[1].name):
        quantize_artefacts(checkpoint, tmp_path / "out", pictures)
    assert not (tmp_path / "out").exists()


def test_times_are_medians_of_turns(
    monkeypatch: pytest.MonkeyPatch, squares: Callable[..., Any]
) -> None:
    monkeypatch.undo()
    now, order = [0.0], []
    monkeypatch.setattr("mobileyolact.quantize.timing._clock", lambda: now[0])

    class Slow:
        def __init__(self, name: str, seconds: float) -> None:
            self.name, self.seconds = name, seconds

        def run(self, tensor: Any) -> None:
            order.append(self.name)
            now[0] += self.seconds * (100 if len(order) in (1, 2, 9) else 1)

    a, b = Slow("a", 0.004), Slow("b", 0.001)
    times = network_times(a, b, np.zeros((1, 3, 8, 8), np.float32))  # type: ignore[arg-type]
    assert times == pytest.approx((4, 1))
    assert order[:4] == ["a", "b", "a", "b"]
    assert len(order) > 2 * ROUNDS
