"""What holds for the repository as a whole."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "mobileyolact"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Whatever is written by hand and shipped or read.
TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "*.toml",
        "*.txt",
        "Makefile",
        "NOTICE",
        ".ci/run",
        "docs/**/*.md",
        "docs/*.json",
        "research/*.toml",
        "research/results/*.json",
    )
    for path in ROOT.glob(pattern)
) + sorted(
    p for folder in ("src", "tests", "scripts", "research") for p in (ROOT / folder).rglob("*.py")
)


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_generated_pages_are_up_to_date(docs: ModuleType) -> None:
    stale = [p.name for p, text in docs.generated().items() if p.read_text("utf-8") != text]
    assert stale == [], "run 'make docs'"


def test_the_tree_names_every_module_and_nothing_else() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn, folders = set(), []
    for line in page.split("src/mobileyolact/\n")[1].split("```")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        name = line.split()[0]
        del folders[depth:]
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        else:
            drawn.add("/".join([*folders, name]))
        assert len(line.split()) > 1, f"{name} has no docstring to show"
    real = {p.relative_to(PACKAGE).as_posix() for p in MODULES if p.name != "__init__.py"}
    assert drawn == real


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_no_path_of_one_machine_and_no_registry_host() -> None:
    # Put together here so that this file does not hold them.
    words = [
        "/work" + "/",
        "/root" + "/",
        "/home" + r"/\w",
        "pypi" + r"\.org",
        r"\.\./" + "shared/",
    ]
    forbidden = re.compile("|".join(words))
    allowed = ROOT / "tests" / "shared"  # checks that need data beside the repository
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in TEXTS
        if not path.is_relative_to(allowed)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import mobileyolact; mobileyolact.Predictor; mobileyolact.Instances",
        "from mobileyolact.cli import app; app(['predict', '--help'], standalone_mode=False)",
        "import mobileyolact.labels.formats, mobileyolact.evaluate.evaluator",
    ],
    ids=["package", "predict --help", "labels and evaluate"],
)
def test_torch_stays_unloaded(code: str) -> None:
    out = run_python(f"import sys\n{code}\nprint('torch' in sys.modules)")
    assert out.splitlines()[-1] == "False"


def test_importing_the_package_is_cheap() -> None:
    code = "import sys; old = set(sys.modules); import mobileyolact; print(set(sys.modules) - old)"
    assert "numpy" not in run_python(code)
    assert "cv2" not in run_python(code)


def test_help_loads_no_engine() -> None:
    code = (
        "import sys\nfrom mobileyolact.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'ncnn', 'torch'} & set(sys.modules)))"
    )
    assert run_python(code).splitlines()[-1] == "[]"


def test_public_names_are_what_the_package_says() -> None:
    import mobileyolact

    for name in mobileyolact.__all__:
        assert getattr(mobileyolact, name) is not None
    assert set(mobileyolact.__all__) <= set(dir(mobileyolact))
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        _ = mobileyolact.Predicter


def test_the_installed_version_is_the_one_in_the_code() -> None:
    from importlib.metadata import version

    import mobileyolact

    assert version("mobileyolact") == mobileyolact.__version__


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
