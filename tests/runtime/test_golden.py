"""The golden cases, which any runtime must reproduce: see tests/golden/README.md."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileyolact import rle
from mobileyolact.contract import ModelContract
from mobileyolact.runtime.backends.base import RawOutputs, check_outputs
from mobileyolact.runtime.postprocess import PostprocessOptions, postprocess
from mobileyolact.runtime.preprocess import preprocess

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = sorted(path.name for path in (GOLDEN / "postprocess").iterdir())


def load(case: str, file: str) -> Any:
    return json.loads((GOLDEN / "postprocess" / case / file).read_text(encoding="utf-8"))


def tensor(output: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(output["float32"]), dtype="<f4")
    return values.astype(np.float32).reshape(output["shape"])


@pytest.mark.parametrize("case", CASES)
def test_the_runtime_gives_what_the_contract_says(case: str) -> None:
    contract = ModelContract.from_json(json.dumps(load(case, "contract.json")))
    raw = load(case, "raw.json")
    outputs = RawOutputs(*(tensor(raw["outputs"][name]) for name in RawOutputs._fields))
    check_outputs(outputs, contract, case)
    picture = np.zeros((raw["picture"]["height"], raw["picture"]["width"], 3), dtype=np.uint8)
    _, placement = preprocess(picture, contract)

    options = PostprocessOptions.from_contract(contract)
    instances = postprocess(outputs, contract, placement, options).to_json()

    expected = load(case, "expected.json")["instances"]
    assert [i["class_index"] for i in instances] == [e["class_index"] for e in expected]
    for instance, wanted in zip(instances, expected, strict=True):
        assert instance["score"] == pytest.approx(wanted["score"], abs=1e-5)
        assert instance["box"] == pytest.approx(wanted["box"], abs=1e-3)
        assert np.array_equal(rle.decode(instance["mask"]), rle.decode(wanted["mask"]))


def test_the_files_are_what_the_reference_gives(tmp_path: Path) -> None:
    subprocess.run([sys.executable, GOLDEN / "make.py", tmp_path], check=True)
    for folder in (tmp_path, GOLDEN / "postprocess"):
        assert sorted(path.name for path in folder.iterdir()) == CASES
    for case in CASES:
        for file in ("contract.json", "raw.json", "expected.json"):
            made = json.loads((tmp_path / case / file).read_text(encoding="utf-8"))
            assert made == load(case, file), f"{case}/{file}"
