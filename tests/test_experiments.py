"""The experiments: rows that the command line takes, and a page of what came out."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import typer.main
from PIL import Image

from mobileyolact.cli import app
from mobileyolact.errors import OptionError
from mobileyolact.model.presets import get_preset
from mobileyolact.quantize.scope import Scope
from mobileyolact.train.config import TrainConfig, read_option

RESEARCH = Path(__file__).parent.parent / "research"
MODULES = ("plan", "int8_rows", "measured", "results_page", "row_times", "experiment")

TINY = """
[groups.tiny]
title = "Tiny things"
about = "A trial."
[groups.whole]
title = "Whole numbers"
[groups.empty]
title = "Not begun"
[files]
"tiny/train.json" = "two pictures"
"tiny/val.json" = "two others"
"tiny/more.json" = "two more"
[[row]]
name = "tiny-first"
group = "tiny"
what = "a | b"
note = "as usual"
verdict = "did not pay"
train = { data = ["tiny/train.json"], preset = "n-320", init = "none", iterations = 2 }
evaluate = ["tiny/val.json"]
seeds = [0, 4]
[[row]]
name = "tiny-next"
group = "tiny"
what = "from the first"
train = { data = ["tiny/train.json"], init = "@tiny-first-s4", set = ["flip=0", "zoom=0.5,2"] }
evaluate = ["tiny/val.json"]
[[matrix]]
group = "whole"
evaluate = ["tiny/val.json", "tiny/more.json"]
quantize = { calibration = "tiny/train.json" }
[matrix.variants]
ptq = { what = "rounded", checkpoint = "@tiny-first-s4" }
qat = { what = "learnt", checkpoint = "coco", qat = true, data = ["tiny/train.json"] }
"""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Imports a script of research/, or of a copy of it."""

    def script(name: str, folder: Path = RESEARCH) -> ModuleType:
        monkeypatch.syspath_prepend(folder)
        return importlib.import_module(name)

    # Another test may have imported them from elsewhere.
    for name in MODULES:
        sys.modules.pop(name, None)
    yield script
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A repository with the scripts and the rows above alone."""
    folder = tmp_path / "research"
    (folder / "results").mkdir(parents=True)
    for name in MODULES:
        shutil.copy(RESEARCH / f"{name}.py", folder)
    (folder / "experiments.toml").write_text(TINY, encoding="utf-8")
    return folder


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the command line makes of the arguments of `mobileyolact`, without doing it."""
    group: Any = typer.main.get_command(app)
    command: Any = group.commands[arguments[0]]
    return command.make_context(arguments[0], arguments[1:]).params


def test_the_command_line_takes_every_row(load: Callable[..., ModuleType]) -> None:
    plan = load("plan").read_plan(RESEARCH / "experiments.toml")
    assert len(plan.runs) == sum(len(row.runs) for row in plan.rows) >= 52
    for run in plan.runs.values():
        given = parsed(run.arguments())
        assert given["output"].name == run.name
        if run.row.quantize:
            start = Path(given["checkpoint"])
            kept = (RESEARCH / "checkpoints" / start.name).is_file()
            assert str(start) == "coco" or start.parent.name in plan.runs or kept
            assert given["qat"] == bool(given["data"])
            assert given["scope"] in get_args(Scope)
            continue
        preset, init = get_preset(given["preset"]), given["init"]
        assert init.endswith(".safetensors") or init in (*preset.starts, "none")
        if init.startswith("runs/"):
            assert Path(init).parent.name in plan.runs
        names = {"iterations", "batch_size", "freeze", "seed"}
        options = {name: given[name] for name in names if given[name] is not None}
        options |= dict(read_option(text) for text in given["options"] or ())
        TrainConfig.for_images(100, **options)
        assert given["threads"] is None, "a matter of the machine"


def test_every_record_belongs_to_a_row_as_it_is_now(load: Callable[..., ModuleType]) -> None:
    runs = load("plan").read_plan(RESEARCH / "experiments.toml").runs
    for name, result in load("results_page").read_results(RESEARCH / "results").items():
        assert result["name"] == name
        assert name in runs, "the row is gone; remove the record, or take the row back"
        assert result["command"] == runs[name].command, "the row has changed; run it again"


def test_rows_become_commands(load: Callable[..., ModuleType], tiny: Path) -> None:
    plan = load("plan").read_plan(tiny / "experiments.toml")
    assert [run.name for run in plan.find("tiny-first")] == ["tiny-first-s0", "tiny-first-s4"]
    (run,) = plan.find("tiny-next-s0")
    assert run.command == (
        "mobileyolact train --data DIR/tiny/train.json "
        "--init runs/experiments/tiny-first-s4/best.safetensors --set flip=0 --set zoom=0.5,2 "
        "--seed 0 --output runs/experiments/tiny-next-s0"
    )
    assert str(Path("/d/tiny/train.json")) in run.arguments(Path("/d"), Path("/r"))
    (run,) = plan.find("whole-ptq")
    assert run.command == (
        "mobileyolact quantize runs/experiments/tiny-first-s4/best.safetensors "
        "--calibration DIR/tiny/train.json --val DIR/tiny/val.json "
        "--output runs/experiments/whole-ptq"
    )
    (run,) = plan.find("whole-qat")
    assert " --qat --data DIR/tiny/train.json --val DIR/tiny/val.json " in run.command
    with pytest.raises(OptionError, match="no row or run 'tiny-frist'.*'tiny-first'"):
        plan.find("tiny-frist")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"tiny-next"', '"tiny-first"', "two rows or runs of one name"),
        ('group = "tiny"', 'group = "small"', r"tiny-first is in no group"),
        ('"did not pay"', '"perhaps"', "verdict of tiny-first"),
        ('data = ["tiny/train.json"]', 'data = ["tiny/less.json"]', "less.json .* not described"),
        ('calibration = "tiny/train.json"', 'calibration = "a.json"', "a.json .* not described"),
        ('{ calibration = "tiny/train.json" }', "{}", "needs checkpoint and calibration"),
        ("seeds = [0, 4]", "quantize = { qat = true }", "either train or quantize"),
        ("quantize = { cal", "seeds = [1]\nquantize = { cal", "no seeds"),
        ('data = ["tiny/train.json"], ', "", "'data'"),
        ("flip=0", 'flip=0"', "experiments.toml"),
        ("note =", "remark =", "remark"),
        ("seeds = [0, 4]", "seeds = [4, 4]", "two rows or runs of one name"),
        ("iterations = 2", "seed = 2", "belongs into seeds"),
    ],
)
def test_a_bad_plan_is_named(
    load: Callable[..., ModuleType], tiny: Path, old: str, new: str, message: str
) -> None:
    path = tiny / "experiments.toml"
    assert old in TINY
    path.write_text(TINY.replace(old, new), encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        load("plan").read_plan(path)


def record(folder: Path, name: str, seed: int, ap: float, **others: Any) -> None:
    masks = {"AP": ap, "AP50": 2 * ap, "per_class": others.pop("per_class", {})}
    result = {
        "name": name, "package": "mobileyolact 0.3.0",
        "seed": seed, "images": 2, "iterations": 20, "batch_size": 8,
        "parameters": 1_304_000, "seconds": 610, "device": "Thinker 9", "device_note": "idle",
        "evaluation": {
            "tiny/val.json": {"mean_matched_iou": None, "mask": masks, "box": {"AP": 0.25}}
        }, **others,
    }  # fmt: skip
    (folder / "results" / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def record_int8(folder: Path, name: str, after: float | None, kept: float | None) -> None:
    """Of a model with an AP of 0.2, or without any where ``after`` is ``None``."""
    before = None if after is None else 0.2
    change = dict.fromkeys(("difference", "low", "high"), None if after is None else -0.0123)
    judged = {"AP": {"float": before, "quantized": after, **change}}
    judged["AP50"] = judged["AP"]
    facts = {
        "integer_convolutions": 123, "kept_float": ["stem"], "share_of_float32": 0.2871,
        "milliseconds": {"float": 20.0, "quantized": 13.0}, "ap50_kept": kept,
        "evaluation": {"tiny/val.json": judged, "tiny/more.json": judged},
    }  # fmt: skip
    device = {"device": "Thinker 9", "device_note": "", "package": "mobileyolact 0.1.0"}
    result = {"name": name, **device, "formats": {"ncnn": facts, "onnx": facts}}
    (folder / "results" / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def rows_of(page: str) -> list[dict[str, str]]:
    """The first table of a page, by column."""
    table = page.split("## Data")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    cells = [line[2:-2].replace("\\|", "\0").split(" | ") for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def test_a_page_of_results(load: Callable[..., ModuleType], tiny: Path) -> None:
    page = load("results_page").page
    assert "No row has been run yet." in page(tiny)
    record(tiny, "tiny-first-s0", 0, 0.1)
    assert "\npython research/experiment.py tiny-first-s0 --data DIR\n" in page(tiny)
    record(tiny, "tiny-first-s4", 4, 0.2)
    text = page(tiny)
    assert "Not begun" not in text, "a group without a result"
    assert "tiny-next" not in text, "a row without a result"
    assert "Measured on `tiny/val.json`: two others." in text
    assert "Trained on Thinker 9 (idle)." in text
    assert "\npython research/experiment.py tiny-first --data DIR\n" in text
    (row,) = rows_of(text)
    assert row == {
        "row": "[`tiny-first`](../research/results/tiny-first-s0.json)",
        "what": "a \0 b (as usual)",
        "data": "tiny/train",
        "pictures": "2",
        "iterations": "20 x 8",
        "seed": "0, 4",
        "mask AP": "0.150 ± 0.050",
        "AP50": "0.300 ± 0.100",
        "box AP": "0.250 ± 0.000",
        "mask IoU": "-",
        "minutes": "10",
        "parameters": "1.30 M",
        "verdict": "did not pay",
    }
    record(tiny, "tiny-next-s0", 0, 0.3, per_class={"person": {"AP50": 0.61}})
    first, second = rows_of(page(tiny))
    assert (first["person"], second["person"]) == ("", "0.610")
    assert second["mask AP"] == "0.300"


def test_what_the_networks_of_a_group_cost(load: Callable[..., ModuleType], tiny: Path) -> None:
    record(tiny, "tiny-first-s0", 0, 0.1)
    cells = {"gmacs": 0.757, "onnx": 28.5865, "ncnn": 40.068, "torchscript": 68.7798}
    device = {
        "cpu": "Thinker 9", "cores": 2, "instructions": ["avx2"], "os": "Linux", "load": 0.1,
        "python": "3.11", "versions": {"ncnn": "1.0"},
    }  # fmt: skip
    (tiny / "times").mkdir()
    found = {"date": "2026-11-27", "device": device, "rows": {"tiny-first": cells}}
    (tiny / "times" / "tiny.json").write_text(json.dumps(found), encoding="utf-8")
    text = load("results_page").page(tiny)
    assert "\npython research/row_times.py tiny\n" in text
    assert "\n2026-11-27, Thinker 9 (avx2), 2 cores, Linux, load 0.1; " in text
    (row,) = rows_of(text.partition("What these networks cost:")[2])
    assert row == {
        "row": "`tiny-first`", "GMACs": "0.76",
        "ms ONNX Runtime": "28.59", "ms ncnn": "40.07", "ms PyTorch": "68.78",
    }  # fmt: skip


def test_which_networks_are_timed(load: Callable[..., ModuleType], tiny: Path) -> None:
    pytest.importorskip("torch")
    script = load("row_times")
    plan = load("plan").read_plan(RESEARCH / "experiments.toml")
    assert script.presets_of(plan, "paper")["paper-separable"] == "paper-320"
    assert set(script.presets_of(plan, "paper").values()) >= {"dense-320", "s-320"}
    with pytest.raises(OptionError, match="no group 'papier'.*'paper'"):
        script.presets_of(plan, "papier")
    with pytest.raises(OptionError, match="no row of the group 'int8' trains a network"):
        script.presets_of(plan, "int8")


@pytest.mark.slow
def test_networks_are_timed_in_every_engine(
    load: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    for name in ("_PICTURES", "_WARM_UP"):
        monkeypatch.setattr(f"mobileyolact.benchmark.timing.{name}", 1)
    found = load("row_times").measure({"some-row": "n-320"}, rounds=1)
    cells = found["rows"]["some-row"]
    assert list(cells) == ["gmacs", "ncnn", "onnx", "torchscript"]
    assert 0.4 < cells["gmacs"] < 1
    assert all(cells[engine] > 0 for engine in ("ncnn", "onnx", "torchscript"))


def test_a_page_of_quantizations(load: Callable[..., ModuleType], tiny: Path) -> None:
    record_int8(tiny, "whole-qat", 0.196, 0.98)
    text = load("results_page").page(tiny)
    assert "\nTimes on Thinker 9.\n" in text
    assert "\npython research/experiment.py whole-qat --data DIR\n" in text
    first, second = rows_of(text)
    assert first == {
        "row": "[`whole-qat`](../research/results/whole-qat.json)",
        "what": "learnt",
        "format": "ncnn",
        "mask AP": "0.200 → 0.196",
        "AP change": "-0.012 (-0.012 to -0.012)",
        "AP50": "0.200 → 0.196",
        "AP50 change": "-0.012 (-0.012 to -0.012)",
        "person": "0.200 → 0.196",
        "kept": "98.0 %",
        "size": "0.287",
        "time": "0.65",
        "convolutions": "123",
        "left in float": "1",
    }
    assert (second["row"], second["format"], second["kept"]) == ("", "onnx", "98.0 %")
    path = tiny / "results" / "whole-qat.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["formats"]["onnx"]["ap50_kept_in_passes"] = [0.98, 0.99, 1.0]
    path.write_text(json.dumps(content), encoding="utf-8")
    lines = rows_of(load("results_page").page(tiny))
    assert [line["mean of passes"] for line in lines] == ["", "99.0 ± 1.0 %"]
    record_int8(tiny, "whole-qat", None, None)
    first, _ = rows_of(load("results_page").page(tiny))
    assert (first["mask AP"], first["AP50 change"], first["kept"]) == ("-", "-", "-")


def test_how_much_is_kept(load: Callable[..., ModuleType]) -> None:
    kept = load("int8_rows").ap50_kept

    def judged(*figures: float | None) -> dict[str, dict[str, float | None]]:
        return {"AP50": dict(zip(("float", "quantized"), figures, strict=True))}

    assert kept({"a": judged(0.25, 0.2), "b": judged(0.75, 0.7)}) == 0.9, "not a mean of ratios"
    assert kept({"a": judged(0.0, 0.1)}) is None
    assert kept({"a": judged(0.5, 0.5), "b": judged(None, None)}) is None


@pytest.mark.slow
def test_a_row_is_trained_measured_and_shown(
    load: Callable[..., ModuleType],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("pycocotools")
    data = tiny.parent / "data"
    draw_labels(data / "tiny")
    experiment = load("experiment", tiny)

    def run(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["experiment.py", *arguments])
        experiment.main()

    run("tiny-first", "--data", str(data), "--threads", "1", "--device-note", "a test")
    path = tiny / "results" / "tiny-first-s4.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (
        content["command"]
        == experiment.read_plan(tiny / "experiments.toml").runs["tiny-first-s4"].command
    )
    assert (content["images"], content["iterations"], content["batch_size"]) == (2, 2, 8)
    assert content["evaluation"]["tiny/val.json"]["images"] == 2
    assert content["seconds"] >= 0
    page = (tiny.parent / "docs" / "results.md").read_text(encoding="utf-8")
    (row,) = rows_of(page)
    assert row["seed"] == "0, 4"
    assert row["iterations"] == "2 x 8"

    # Again: nothing is trained.
    log = (tiny.parent / "runs/experiments/tiny-first-s4/log.jsonl").read_text(encoding="utf-8")
    run("tiny-first-s4", "--data", str(data), "--threads", "1")
    assert json.loads(path.read_text(encoding="utf-8"))["device_note"] == "a test"
    assert (path.parents[2] / "runs/experiments/tiny-first-s4/log.jsonl").read_text() == log

    # What has learnt nothing loses nothing, but all that is recorded of int8 is there.
    run("whole-ptq", "--data", str(data), "--threads", "1")
    content = json.loads((tiny / "results" / "whole-ptq.json").read_text(encoding="utf-8"))
    assert content["training"] is None
    assert sorted(content["formats"]) == ["ncnn", "onnx", "torchscript"]
    for facts in content["formats"].values():
        assert facts["calibration_pictures"] == 2
        assert facts["share_of_float32"] < 0.35
        assert list(facts["evaluation"]) == ["tiny/val.json", "tiny/more.json"]
        assert facts["evaluation"]["tiny/val.json"] == facts["evaluation"]["tiny/more.json"]
    assert "| ncnn |" in (tiny.parent / "docs" / "results.md").read_text(encoding="utf-8")
    capsys.readouterr()

    run("--list")
    assert "tiny-first  2/2  a | b\ntiny-next  0/1  from the first\n" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: .*no row or run 'tiny-nxt'"):
        run("tiny-nxt", "--data", str(data))
    # The labels are missing: the command's own error ends the script.
    with pytest.raises(SystemExit) as stopped:
        run("tiny-first-s0", "--data", str(data / "elsewhere"))
    assert stopped.value.code == 1


def draw_labels(folder: Path) -> None:
    """train.json, val.json and more.json, two pictures with a bright square each."""
    (folder / "images").mkdir(parents=True)
    for name in ("train", "val", "more"):
        content: dict[str, Any] = {"categories": [{"id": 1, "name": "square"}]}
        content["images"], content["annotations"] = [], []
        for i in (1, 2):
            pixels = np.full((96, 96, 3), 60, np.uint8)
            pixels[16 * i : 16 * i + 48, 20:68] = 220
            Image.fromarray(pixels).save(folder / "images" / f"{name}{i}.png")
            image = {"id": i, "file_name": f"{name}{i}.png", "width": 96, "height": 96}
            content["images"].append(image)
            x1, y1, x2, y2 = 20, 16 * i, 68, 16 * i + 48
            box = {"bbox": [x1, y1, 48, 48], "area": 48 * 48, "iscrowd": 0}
            outline = {"segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
            label = {"id": i, "image_id": i, "category_id": 1, **box, **outline}
            content["annotations"].append(label)
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
