import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import ContractError, ModelError, OptionError
from mobileyolact.runtime.backends import BACKENDS, RawOutputs, open_backend

every_backend = pytest.mark.parametrize("name", list(BACKENDS))


@every_backend
@pytest.mark.parametrize("threads", [None, 2])
def test_raw_outputs_are_those_of_the_network(tiny, tensor, tmp_path, name, threads):
    backend = open_backend(tiny.write(name, tmp_path), threads=threads)
    assert backend.contract == tiny.contract
    assert backend.describe().startswith(name.replace("onnxruntime", "onnxruntime "))
    assert f"{threads or 1} thread" in backend.describe()
    raw = backend.run(tensor)
    assert isinstance(raw, RawOutputs)
    for array, expected, info in zip(
        raw, tiny.reference(tensor), tiny.contract.outputs, strict=True
    ):
        assert array.dtype == np.float32
        assert array.shape == info.shape
        assert array == pytest.approx(expected, abs=1e-3)
    again = backend.run(tensor[:, ::-1].copy())
    assert not np.array_equal(again.scores, raw.scores)
    assert raw.scores == pytest.approx(tiny.reference(tensor).scores, abs=1e-3)


@every_backend
def test_several_threads_may_run_it_at_once(tiny, tensor, tmp_path, name):
    backend = open_backend(tiny.write(name, tmp_path))
    tensors = [np.roll(tensor, shift, axis=3).copy() for shift in range(8)] * 4
    expected = [backend.run(image) for image in tensors]
    with ThreadPoolExecutor(4) as pool:
        for raw, alone in zip(pool.map(backend.run, tensors), expected, strict=True):
            assert all(map(np.array_equal, raw, alone))


@every_backend
def test_a_tensor_that_an_engine_would_misread_is_refused(tiny, tensor, tmp_path, name):
    backend = open_backend(tiny.write(name, tmp_path))
    for wrong in (
        tensor[0],
        tensor.astype(np.float64),
        tensor[:, :, :, ::-1],
        np.concatenate([tensor, tensor]),
        np.zeros((1, 3, 64, 32), dtype=np.float32),
    ):
        with pytest.raises(ModelError, match="C-contiguous float32"):
            backend.run(wrong)


@every_backend
def test_a_closed_backend_says_so(tiny, tensor, tmp_path, name):
    backend = open_backend(tiny.write(name, tmp_path))
    backend.close()
    backend.close()
    with pytest.raises(ModelError, match="is closed"):
        backend.run(tensor)


@every_backend
def test_missing_and_damaged_files_are_clear_errors(tiny, tmp_path, name, capfd):
    path = tiny.write(name, tmp_path)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for part in (b"", whole[: len(whole) // 2], b"\xff" * 300):
            file.write_bytes(part)
            with pytest.raises(ModelError, match=r"cannot|damaged|not JSON|no contract"):
                open_backend(path)
        file.unlink()
        with pytest.raises(ModelError, match="there is no model file"):
            open_backend(path)
        file.write_bytes(whole)
    open_backend(path)
    if name == "onnxruntime":
        assert capfd.readouterr().err == ""


@every_backend
def test_a_contract_of_another_network_is_refused(tiny, make_contract, tensor, tmp_path, name):
    other = dataclasses.replace(
        tiny, contract=make_contract(classes=(*tiny.contract.classes, ClassInfo(3, "kite", 13)))
    )
    with pytest.raises(ContractError, match=r"output 'scores' of .* \(1, 40, 4\)"):
        open_backend(other.write(name, tmp_path)).run(tensor)


def test_onnx_files_of_other_projects_are_refused(tiny, tmp_path):
    path = tiny.write("onnxruntime", tmp_path)
    import onnx

    model = onnx.load(path)
    contract = tiny.contract.at_size((64, 64))
    model.metadata_props[0].value = contract.to_json()
    onnx.save(model, path)
    with pytest.raises(ContractError, match=r"input of shape \[1, 3, 64, 64\]"):
        open_backend(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ContractError, match="has no contract"):
        open_backend(path)


def test_ncnn_files_with_other_blob_names_are_refused(tiny, tmp_path):
    path = tiny.write("ncnn", tmp_path)
    path.write_text(path.read_text().replace(" scores ", " out0 "))
    with pytest.raises(ContractError, match="does not have the input image"):
        open_backend(path)


def test_the_backend_follows_from_the_file_and_must_read_it(tmp_path):
    for suffix in (".onnx", ".ncnn.param", ".torchscript"):
        with pytest.raises(ModelError, match="there is no model file"):
            open_backend(tmp_path / f"model{suffix}")
    for path, backend, message in (
        ("a.onnx", "onnxruntim", "nearest one is 'onnxruntime'"),
        ("a.onnx", "ncnn", "backend 'ncnn' does not read a.onnx"),
        ("a.tflite", None, r"the backends do not read a\.tflite; .*\.ncnn\.param"),
        ("a.safetensors", None, "export it first"),
    ):
        with pytest.raises(OptionError, match=message):
            open_backend(path, backend)
    with pytest.raises(OptionError, match="threads must be at least 1"):
        open_backend("a.onnx", threads=0)


def test_an_engine_is_imported_only_when_it_is_used():
    code = (
        "import sys; import mobileyolact.runtime.predictor; "
        "print(sorted({'torch', 'ncnn', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
