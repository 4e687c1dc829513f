from collections.abc import Callable
from pathlib import Path

import pytest

from mobileyolact.benchmark.foreign import ForeignNcnn, ForeignOnnx
from mobileyolact.benchmark.subject import Subject, open_subject
from mobileyolact.errors import ModelError, NoContractError, OptionError

Write = Callable[..., Path]


def shapes(model: object) -> list[tuple[int, ...]]:
    assert isinstance(model, ForeignOnnx)
    return [values.shape for values in model._inputs.values()]


def test_onnx_runs_in_its_declared_shape(foreign_onnx: Write) -> None:
    model = open_subject(Subject("other", foreign_onnx()), None)
    model.run()  # type: ignore[call-arg]
    assert shapes(model) == [(1, 3, 32, 64)]
    assert "onnxruntime" in model.describe()
    assert model.describe().endswith("1 thread")


@pytest.mark.parametrize("type", ["FLOAT16", "UINT8", "INT64", "BOOL", "DOUBLE"])
def test_onnx_with_inputs_of_other_types(type: str, foreign_onnx: Write) -> None:
    ForeignOnnx(foreign_onnx(type=type), 1, None).run()


def test_onnx_with_free_sides(foreign_onnx: Write) -> None:
    path = foreign_onnx(("batch", 3, "height", "width"))
    with pytest.raises(OptionError, match="'images' of .*no fixed size; say it with --input-size"):
        ForeignOnnx(path, 1, None)
    model = ForeignOnnx(path, 1, (64, 32))
    model.run()
    assert shapes(model) == [(1, 3, 32, 64)]
    assert shapes(ForeignOnnx(foreign_onnx(("batch", 3, 16, 8)), 1, (64, 32))) == [(1, 3, 16, 8)]


def test_onnx_that_cannot_run(foreign_onnx: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"tensor\(string\), which cannot be made up"):
        ForeignOnnx(foreign_onnx(type="STRING"), 1, None)
    path = foreign_onnx((1, "channels", 4, 4))
    ForeignOnnx(path, 1, None).run()
    monkeypatch.setattr("mobileyolact.benchmark.foreign._CHANNELS", 1)
    with pytest.raises(ModelError, match="cannot run .* on random input"):
        ForeignOnnx(path, 1, None).run()


@pytest.mark.parametrize("name", ["other.param", "other.ncnn.param"])
def test_ncnn_runs_in_the_size_of_its_input_layer(name: str, foreign_ncnn: Write) -> None:
    model = open_subject(Subject("other", foreign_ncnn(name=name)), None)
    assert isinstance(model, ForeignNcnn)
    model.run()
    assert [i.values.shape for i in model._inputs] == [(3, 32, 64)]
    assert model.describe().startswith("ncnn ")


def test_ncnn_without_a_size(foreign_ncnn: Write) -> None:
    path = foreign_ncnn("")
    with pytest.raises(OptionError, match="'in0' of .*no fixed size; say it with --input-size"):
        ForeignNcnn(path, 1, None)
    model = ForeignNcnn(path, 1, (16, 8))
    model.run()
    assert [i.values.shape for i in model._inputs] == [(3, 8, 16)]


def test_ncnn_that_cannot_run(foreign_ncnn: Write) -> None:
    path = foreign_ncnn()
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"no model file .*other\.bin; \.param and \.bin belong"):
        ForeignNcnn(path, 1, None)
    path = foreign_ncnn()
    path.write_text(path.read_text().replace("Input in0 0 1 in0", "Split in0 0 1 in0"))
    with pytest.raises(ModelError, match="no Input layer"):
        ForeignNcnn(path, 1, None)


def test_another_engine_than_the_file_is_for(foreign_ncnn: Write, foreign_onnx: Write) -> None:
    for path, backend in ((foreign_ncnn(), "onnxruntime"), (foreign_onnx(), "ncnn")):
        with pytest.raises(OptionError, match=f"backend '{backend}' does not read"):
            open_subject(Subject("other", path, backend), None)


def test_torchscript_of_others_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "other.torchscript"
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), path)
    with pytest.raises(NoContractError, match="has no contract"):
        open_subject(Subject("other", path), None)


def test_all_files_of_a_model_count(foreign_ncnn: Write, foreign_onnx: Write) -> None:
    path = foreign_ncnn()
    assert Subject("other", path).files == (path, path.with_suffix(".bin"))
    path = foreign_onnx()
    Path(f"{path}.data").touch()
    assert Subject("other", path).files == (path, Path(f"{path}.data"))


def test_ncnn_counts_the_values_that_layers_read_and_write(foreign_ncnn: Write) -> None:
    assert ForeignNcnn(foreign_ncnn(), 1, None).values() == (3 + 4) * 64 * 32
