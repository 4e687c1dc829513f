"""docs/performance.md, and the script that measures what it shows."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RESEARCH = Path(__file__).parent.parent / "research"
DEVICE = {
    "cpu": "Some CPU",
    "cores": 2,
    "instructions": ["avx2"],
    "os": "Linux",
    "python": "3.12",
    "versions": {"ncnn": "1.0"},
    "load": 0.1,
}


@pytest.fixture
def research(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(RESEARCH)
    yield
    for name in list(sys.modules):
        if name.startswith(("performance", "predict_speed", "bench_loader")):
            del sys.modules[name]


@pytest.fixture
def page(research: None) -> ModuleType:
    return importlib.import_module("performance_page")


@pytest.fixture
def script(research: None) -> ModuleType:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    return importlib.import_module("performance")


def stages(**medians: float) -> dict[str, Any]:
    return {name: {"median_ms": ms, "p90_ms": 0, "min_ms": 0} for name, ms in medians.items()}


def row(engine: str, precision: str, network: float) -> dict[str, Any]:
    times = stages(preprocess=1.0, network=network, postprocess=2.0, total=network + 3)
    sizes = {"file_bytes": 2_500_000, "peak_rss_bytes": 99_600_000}
    return {
        "engine": engine,
        "precision": precision,
        "share_of_float32": 0.5,
        **sizes,
        "stages": times,
    }


def record(*rows: dict[str, Any], **more: Any) -> str:
    about = {"name": "n-416", "date": "2026-01-02", "device": DEVICE, "rounds": 1, "rows": rows}
    return json.dumps({**about, **more})


def test_estimates_on_phones(page: ModuleType, tmp_path: Path) -> None:
    errors = {"count": 158, "median": 0.09, "p90": 0.28, "low": 0.76, "high": 1.338}
    estimate = {"device": "Galaxy S20", "threads": 4, "interpolated": False}
    estimate |= {"ms": 20.0, "low_ms": 16.0, "high_ms": 25.0}
    estimate |= {"fps": 50.0, "low_fps": 40.0, "high_fps": 62.5}
    models = [{"name": name, "devices": [estimate]} for name in ("n-416", "n-320")]
    keys = ("all", "full tables", "short tables")
    about = {"left_out": dict.fromkeys(keys, errors), "models": models}
    (tmp_path / "projection.json").write_text(record(**about))
    text = page.page(tmp_path)
    cells = "20.0 (16.0 - 25.0) | 50 (40 - 62)"
    assert "| | threads | n-416 ms | FPS | n-320 ms | FPS |\n|---|---|---|---|---|---|\n" in text
    assert f"| Galaxy S20 | 4 | {cells} | {cells} |" in text
    assert "| many families | 158 | 9% | 28% | 0.76 - 1.34 |" in text
    source = "PaddlePaddle/PaddleDetection configs/picodet/README_en.md @ 084e537bc217"
    assert f"- {source}: Snapdragon 865\n" in text
    assert "2026-01-02, Some CPU (avx2)" in text
    assert "Nothing has been measured" not in text


def test_networks_are_compared_within_an_engine(page: ModuleType, tmp_path: Path) -> None:
    rows = (
        row("onnx", "float", 20.0),
        row("onnx", "int8 full", 10.0),
        row("ncnn", "float", 30.0),
        row("ncnn", "int8 full", 36.0),
        row("ncnn", "8-bit weights", 60.0),
    )
    about = {"input_size": [416, 416], "image_size": [1280, 720], "instances": 10}
    (tmp_path / "n-416.json").write_text(record(*rows, **about))
    text = page.page(tmp_path)
    assert "## n-416, input 416 x 416" in text
    assert "| ONNX Runtime | int8 full | 2.50 | 0.500 | 10.0 | 0.50 | 13.0 | 100 MB |" in text
    assert "| ncnn | int8 full | 2.50 | 0.500 | 36.0 | 1.20 | 39.0 | 100 MB |" in text
    assert "**Slower than float here: ncnn int8 full (1.20).**" in text
    assert "2026-01-02, Some CPU (avx2), 2 cores, Linux, load 0.1; Python 3.12, ncnn 1.0." in text
    (tmp_path / "n-416.json").write_text(record(*rows[:2], **about))
    assert "No int8 file is slower than its float file here." in page.page(tmp_path)


def test_postprocessing(page: ModuleType, tmp_path: Path) -> None:
    times = stages(preprocess=1.5, postprocess=4.25)
    apart = {"decode": {"median_ms": 7.0}, "draw": {"median_ms": 9.0}}
    sizes = {"image_size": [1920, 1080], "instances": 100, "peak_rss_bytes": None}
    (tmp_path / "postprocess.json").write_text(record({"stages": times, **apart, **sizes}))
    assert "| 1920 x 1080 | 100 | 1.5 | 4.2 | 7.0 | 9.0 | - |" in page.page(tmp_path)


def test_the_command(page: ModuleType, tmp_path: Path) -> None:
    start = {"what": "start", "ways": ["predict", "imports"]}
    times = {"wall": {"ms": [500.4, 250], "ratio": 2}, "cpu": {"ms": [300, 200], "ratio": 1.5}}
    (tmp_path / "predict.json").write_text(record({**start, **times}))
    text = page.page(tmp_path)
    assert "| start | predict : imports | 500 : 250 ms | 2.00 | 300 : 200 ms | 1.50 |" in text


def test_training(page: ModuleType, tmp_path: Path) -> None:
    rates = {"preset": "s-320", "training": 4.56, "loader": 250.4, "loader_copy_paste": 170}
    (tmp_path / "training.json").write_text(record({**rates, "peak_rss_bytes": 2_000_000_000}))
    assert "| `s-320` | 4.6 | 250 | 170 | 2000 MB |" in page.page(tmp_path)


def test_without_measurements(page: ModuleType, tmp_path: Path) -> None:
    assert page.page(tmp_path).endswith("Nothing has been measured yet.\n")


@pytest.mark.slow
def test_training_is_measured_in_a_process_of_its_own(
    script: ModuleType, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = sys.modules["performance_training"]
    monkeypatch.setattr(training, "PRESETS", ("s-320",))
    (row,) = training.measure_training(labels)
    assert row["preset"] == "s-320"
    assert min(row["training"], row["loader"], row["loader_copy_paste"]) > 0
    with pytest.raises(script.MobileYolactError, match="training s-320 on .* failed: "):
        training.measure_training(labels.parent / "none.json")


@pytest.mark.slow
def test_every_file_is_made_and_measured(
    script: ModuleType,
    page: ModuleType,
    checkpoint: Path,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_PICTURES", "_WARM_UP"):
        monkeypatch.setattr(f"mobileyolact.benchmark.timing.{name}", 1)
    network = script.Network("tiny", checkpoint, (64, 64))
    files = list(script.files_of(network, tmp_path / "files", pictures))
    found = script.measure(network, files, 1, lambda: None)
    precisions = ["float", "int8 full", "int8 backbone", "8-bit weights"]
    assert [(r["engine"], r["precision"]) for r in found["rows"]] == [
        *(("onnx", p) for p in precisions),
        *(("ncnn", p) for p in precisions),
        *(("torchscript", p) for p in precisions[:3]),
    ]
    shares = {(r["engine"], r["precision"]): r["share_of_float32"] for r in found["rows"]}
    for engine in ("onnx", "ncnn"):
        assert shares[engine, "int8 full"] < shares[engine, "float"] < 1
    (tmp_path / "out").mkdir()
    script.write(tmp_path / "out" / "tiny.json", found)
    assert page.page(tmp_path / "out").count("| PyTorch |") == 3


def test_it_waits_for_a_quiet_machine(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([2.0, 0.5, 0.2])
    slept: list[float] = []
    monkeypatch.setattr("os.getloadavg", lambda: (next(loads), 0, 0), raising=False)
    monkeypatch.setattr(script.time, "sleep", slept.append)
    script.wait()
    assert len(slept) == 2
    monkeypatch.setattr("os.getloadavg", lambda: (2.0, 0, 0), raising=False)
    monkeypatch.setattr(script, "PATIENCE", -1)
    with pytest.raises(script.MobileYolactError, match=r"stays at 2\.0, above 0\.3"):
        script.wait()
