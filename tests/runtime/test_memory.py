"""Hundreds of instances in a large picture, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import re
from pathlib import Path

import numpy as np

from mobileyolact.contract import ClassInfo, ModelContract, output_infos
from mobileyolact.runtime.backends.base import RawOutputs
from mobileyolact.runtime.postprocess import PostprocessOptions, postprocess
from mobileyolact.runtime.preprocess import preprocess


def resident(field):
    status = Path("/proc/self/status").read_text()
    return int(re.search(field + r":\\s+(\\d+) kB", status)[1]) / 1024


random = np.random.default_rng(0)
contract = ModelContract(
    name="large", input_size=(416, 416), classes=(ClassInfo(0, "thing", 1),),
    outputs=output_infos((416, 416), (8,), classes=1, box_values=4, prototypes=32),
    strides=(8,), mean=(0.0,) * 3, std=(1.0,) * 3, box_coding="ltrb",
)
raw = RawOutputs(
    scores=random.normal(9, 1, (1, 2704, 1)).astype(np.float32),
    boxes=np.full((1, 2704, 4), 99, dtype=np.float32),  # every box is the whole picture
    coefficients=random.normal(size=(1, 2704, 32)).astype(np.float32),
    prototypes=random.normal(size=(1, 32, 104, 104)).astype(np.float32),
)
image = np.zeros((3000, 4000, 3), dtype=np.uint8)
tensor, placement = preprocess(image, contract)
image[:] = 1  # resident from here on
options = PostprocessOptions.from_contract(contract, nms_threshold=1.0, max_detections=300)
before = resident("VmRSS")
instances = postprocess(raw, contract, placement, options)
areas = instances.areas
records = instances.to_json()
again = [np.count_nonzero(instances.roi(i).bitmap) for i in range(0, 300, 50)]
assert len(records) == 300 and areas[::50].tolist() == again and areas.min() > 10**6
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc, which is missing"
)
def test_300_masks_of_12_megapixels_take_less_than_400_mb():
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 400
