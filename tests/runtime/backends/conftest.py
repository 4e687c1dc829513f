"""A network small enough to be computed by hand, as files of every engine."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

from mobileyolact.contract import CONTRACT_KEY, OUTPUT_NAMES, ModelContract
from mobileyolact.runtime.backends import RawOutputs


@dataclasses.dataclass(frozen=True)
class TinyNetwork:
    """Each output is a convolution without overlap, for each of its levels."""

    contract: ModelContract
    weights: dict[tuple[str, int], np.ndarray]
    biases: dict[tuple[str, int], np.ndarray]

    def reference(self, tensor: np.ndarray) -> RawOutputs:
        parts: dict[str, list[np.ndarray]] = {name: [] for name in OUTPUT_NAMES}
        for (name, stride), weight in self.weights.items():
            _, _, height, width = tensor.shape
            cells = tensor[0].reshape(3, height // stride, stride, width // stride, stride)
            values = np.einsum("chiwj,ocij->ohw", cells, weight, dtype=np.float64)
            parts[name].append(values + self.biases[name, stride][:, None, None])
        rows = [
            np.concatenate([part.reshape(len(part), -1) for part in parts[name]], axis=1).T[None]
            for name in OUTPUT_NAMES[:3]
        ]
        return RawOutputs(*rows, parts["prototypes"][0][None])

    def write(self, backend: str, folder: Path) -> Path:
        return {
            "onnxruntime": self._write_onnx,
            "ncnn": self._write_ncnn,
            "torchscript": self._write_torchscript,
        }[backend](folder)

    def _write_onnx(self, folder: Path) -> Path:
        onnx = pytest.importorskip("onnx")
        from onnx import helper, numpy_helper

        nodes, initializers = [], []
        for (name, stride), weight in self.weights.items():
            key = f"{name}_{stride}"
            initializers += [
                numpy_helper.from_array(weight, f"{key}_w"),
                numpy_helper.from_array(self.biases[name, stride], f"{key}_b"),
            ]
            output = name if name == "prototypes" else f"{key}_map"
            inputs = ["image", f"{key}_w", f"{key}_b"]
            nodes.append(helper.make_node("Conv", inputs, [output], strides=[stride, stride]))
            if name != "prototypes":
                shape = numpy_helper.from_array(np.array([1, len(weight), -1]), f"{key}_shape")
                initializers.append(shape)
                nodes.append(helper.make_node("Reshape", [output, shape.name], [f"{key}_flat"]))
        for name in OUTPUT_NAMES[:3]:
            flat = [f"{name}_{stride}_flat" for stride in self.contract.strides]
            nodes.append(helper.make_node("Concat", flat, [f"{name}_all"], axis=2))
            nodes.append(helper.make_node("Transpose", [f"{name}_all"], [name], perm=[0, 2, 1]))
        values = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in [("image", (1, 3, *self.contract.input_size))]
            + [(info.name, info.shape) for info in self.contract.outputs]
        ]
        graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {CONTRACT_KEY: self.contract.to_json()})
        path = folder / "tiny.onnx"
        onnx.save(model, path)
        return path

    def _write_ncnn(self, folder: Path) -> Path:
        maps = [f"{name}_{stride}" for name, stride in self.weights]
        layers = ["Input image 0 1 image"]
        layers.append(f"Split fork 1 {len(maps)} image " + " ".join(f"in_{m}" for m in maps))
        data = b""
        for (name, stride), weight in self.weights.items():
            key = f"{name}_{stride}"
            output = name if name == "prototypes" else f"{key}_map"
            layers.append(
                f"Convolution {key} 1 1 in_{key} {output} "
                f"0={len(weight)} 1={stride} 3={stride} 5=1 6={weight.size}"
            )
            data += np.uint32(0).tobytes() + weight.tobytes()
            data += self.biases[name, stride].tobytes()
            if name != "prototypes":
                layers.append(f"Reshape flatten_{key} 1 1 {output} {key}_flat 0=-1 1={len(weight)}")
        for name in OUTPUT_NAMES[:3]:
            flat = [f"{name}_{stride}_flat" for stride in self.contract.strides]
            layers.append(f"Concat join_{name} {len(flat)} 1 {' '.join(flat)} {name}_all 0=1")
            layers.append(f"Permute turn_{name} 1 1 {name}_all {name} 0=1")
        blobs = {word for line in layers for word in line.split()[4:] if "=" not in word}
        path = folder / "tiny.ncnn.param"
        path.write_text(f"7767517\n{len(layers)} {len(blobs)}\n" + "\n".join(layers) + "\n")
        (folder / "tiny.ncnn.bin").write_bytes(data)
        (folder / "tiny.ncnn.json").write_text(self.contract.to_json())
        return path

    def _write_torchscript(self, folder: Path) -> Path:
        torch = pytest.importorskip("torch")
        tensors = {
            key: (torch.from_numpy(weight), torch.from_numpy(self.biases[key]))
            for key, weight in self.weights.items()
        }

        class Network(torch.nn.Module):
            def forward(self, image):
                parts = {name: [] for name in OUTPUT_NAMES}
                for (name, stride), (weight, bias) in tensors.items():
                    values = torch.nn.functional.conv2d(image, weight, bias, stride)
                    parts[name].append(values)
                rows = [
                    torch.cat([part.flatten(2) for part in parts[name]], 2).transpose(1, 2)
                    for name in OUTPUT_NAMES[:3]
                ]
                return (*rows, parts["prototypes"][0])

        path = folder / "tiny.torchscript"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
            image = torch.zeros(1, 3, *self.contract.input_size)
            module = torch.jit.trace(Network(), (image,), check_trace=False)
            torch.jit.save(module, path, _extra_files={"contract.json": self.contract.to_json()})
        return path


@pytest.fixture
def tiny(make_contract) -> TinyNetwork:
    contract = make_contract()
    random = np.random.default_rng(0)
    weights, biases = {}, {}
    for info in contract.outputs:
        channels = info.shape[1] if info.name == "prototypes" else info.shape[2]
        strides = (4,) if info.name == "prototypes" else contract.strides
        for stride in strides:
            weights[info.name, stride] = random.normal(size=(channels, 3, stride, stride)).astype(
                np.float32
            )
            biases[info.name, stride] = random.normal(size=channels).astype(np.float32)
    return TinyNetwork(contract, weights, biases)


@pytest.fixture
def tensor(tiny) -> np.ndarray:
    shape = (1, 3, *tiny.contract.input_size)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)
