"""Runs model files and saves tensors: the same program on this processor and on the emulated one.

    python arm_inside.py [JOBS]

JOBS is a JSON list of ``Job``; without it, it says what it runs on. It imports nothing but the
engines, since the emulated machine has nothing else.
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any, TypedDict

import ncnn
import numpy as np
import onnxruntime

Arrays = dict[str, np.ndarray]


class Job(TypedDict):
    """One file on given inputs, all as paths.

    ``inputs`` and ``result`` are .npz files of tensors by name; ``names`` are those to save,
    ``options`` those of ``ncnn.Net``.
    """

    model: str
    inputs: str
    names: list[str]
    options: dict[str, bool]
    result: str


def main() -> None:
    if not sys.argv[1:]:
        print(versions())
        return
    jobs: list[Job] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for job in jobs:
        save(job["result"], compute(job))


def versions() -> str:
    engines = f"onnxruntime {onnxruntime.__version__}, ncnn {ncnn.__version__}"
    return f"{platform.machine()}: {engines}"


def save(path: str | Path, arrays: Arrays) -> None:
    tensors: dict[str, Any] = {**arrays}
    np.savez(path, **tensors)


def load(path: str | Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


def compute(job: Job) -> Arrays:
    run = run_onnx if job["model"].endswith(".onnx") else run_ncnn
    return run(job, load(job["inputs"]))


def run_onnx(job: Job, inputs: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        job["model"], options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(job["names"], session.run(job["names"], inputs), strict=True))


def run_ncnn(job: Job, inputs: Arrays) -> Arrays:
    network = ncnn.Net()
    network.opt.num_threads = 1
    network.opt.use_vulkan_compute = False
    for name, value in job["options"].items():
        setattr(network.opt, name, value)
    weights = job["model"].removesuffix(".param") + ".bin"
    if network.load_param(job["model"]) != 0 or network.load_model(weights) != 0:
        raise SystemExit(f"ncnn cannot load {job['model']}")
    extractor: Any = network.create_extractor()
    extractor.set_light_mode(False)  # else a tensor is gone once it has been read
    for name, array in inputs.items():
        # Without a batch; a copy, since a Mat borrows memory.
        values = array[0] if name == "image" else array
        extractor.input(name, ncnn.Mat(np.ascontiguousarray(values)).clone())
    arrays = {}
    for name in job["names"]:
        code, mat = extractor.extract(name)
        if code != 0:
            raise SystemExit(f"ncnn cannot compute '{name}' of {job['model']}")
        arrays[name] = np.array(mat)
    return arrays


if __name__ == "__main__":
    main()
