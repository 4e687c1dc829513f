"""What TorchScript needs beyond the tests over all engines: the archive, PyTorch's own state."""

import io
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mobileyolact.errors import ContractError, ModelError, OptionError
from mobileyolact.runtime.backends import open_backend


def rewrite(path: Path, change) -> None:
    """Give each entry of the archive as ``change(name, data)`` says; ``None`` leaves it out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    path.write_bytes(buffer.getvalue())


def test_without_pytorch_one_line_names_the_extra(make_contract, tmp_path, monkeypatch):
    path = tmp_path / "a.torchscript"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/extra/contract.json", make_contract().to_json())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(OptionError, match=r"a\.torchscript needs torch.*mobileyolact\[torchscr"):
        open_backend(path)


def test_threads_of_the_caller_are_put_back(tiny, tensor, tmp_path):
    torch = pytest.importorskip("torch")
    path = tiny.write("torchscript", tmp_path)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        backend = open_backend(path, threads=2)
        assert torch.get_num_threads() == 3
        seen = []
        module = backend._module
        backend._module = lambda image: seen.append(torch.get_num_threads()) or module(image)
        backend.run(tensor)
        assert (seen, torch.get_num_threads()) == ([2], 3)
        backend._module = lambda image: 1 / 0
        with pytest.raises(ModelError):
            backend.run(tensor)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_gradients_and_warning_filters_of_the_caller_stay(tiny, tensor, tmp_path):
    torch = pytest.importorskip("torch")
    path = tiny.write("torchscript", tmp_path)
    filters = list(warnings.filters)
    open_backend(path).run(tensor)
    assert warnings.filters == filters
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_read_only_tensor_is_no_warning(tiny, tensor, tmp_path):
    backend = open_backend(tiny.write("torchscript", tmp_path))
    expected = backend.run(tensor).scores
    tensor.flags.writeable = False
    np.testing.assert_array_equal(backend.run(tensor).scores, expected)


def test_a_flipped_bit_is_found(tiny, tmp_path):
    path = tiny.write("torchscript", tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    middle = whole.index(archive_data(path, largest.filename)) + largest.file_size // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ModelError, match="is damaged in '.*'; export or download it again"):
        open_backend(path)


def archive_data(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def test_a_missing_part_is_found(tiny, tmp_path):
    path = tiny.write("torchscript", tmp_path)
    rewrite(path, lambda name, data: None if name.endswith("/constants.pkl") else data)
    with pytest.raises(ModelError, match=r"PyTorch cannot load .*; export or download it again"):
        open_backend(path)


@pytest.mark.parametrize("entry", ["contract.json", "pickle"])
def test_files_of_other_projects_are_refused(entry, tiny, tmp_path):
    path = tiny.write("torchscript", tmp_path)
    if entry == "pickle":
        import torch

        torch.save({"weight": torch.zeros(3)}, path)
    else:
        rewrite(path, lambda name, data: None if name.endswith(entry) else data)
    with pytest.raises(ContractError, match=r"has no contract.* make one with: mobileyolact"):
        open_backend(path)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("part", ["/data.pkl", "/constants.pkl"])
def test_a_pickle_inside_calls_no_python(part, tiny, tmp_path):
    path, trace = tiny.write("torchscript", tmp_path), tmp_path / "trace"
    evil = pickle.dumps(Touch(trace), protocol=2)
    rewrite(path, lambda name, data: evil if name.endswith(part) else data)
    with pytest.raises(ModelError, match="PyTorch cannot load"):
        open_backend(path)
    assert not trace.exists()
    pickle.loads(evil)
    assert trace.exists()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: image, "cannot run .* as its contract says"),
        (lambda image: (image,) * 3, "cannot run .* as its contract says .*expected 4"),
        (lambda image: (image,) * 4, "output 'scores' of .* has shape"),
        (lambda image: (image.reshape(1, 3, 64, 64),) * 4, "cannot run .* is invalid for input"),
    ],
    ids=["one tensor", "three", "four of other shapes", "an error"],
)
def test_a_module_with_other_outputs_is_refused(function, message, tiny, tensor, tmp_path):
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def forward(self, image):
            return function(image)

    path = tmp_path / "other.torchscript"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        example = torch.zeros(1, 3, 64, 64)
        module = torch.jit.trace(Network(), (example,), check_trace=False)
        torch.jit.save(module, path, _extra_files={"contract.json": tiny.contract.to_json()})
    with pytest.raises(ModelError, match=message):
        open_backend(path).run(tensor)
