"""What is written stays true: labels, links, samples, names of files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "makeparallel/_core/README.md"])
CORE_README = (ROOT / "makeparallel/_core/README.md").read_text() if (ROOT / "makeparallel").is_dir() else ""
LABEL = re.compile(r"\b([IP]\d+)\b")

pytestmark = pytest.mark.skipif(not CORE_README, reason="the sources are not here: an installed wheel is tested")


def defined_labels() -> set[str]:
    return set(re.findall(r"^- \*\*(I\d+)\*\*", CORE_README, re.MULTILINE)) | set(
        re.findall(r"^## (P\d+)", CORE_README, re.MULTILINE)
    )


def test_label_in_code_without_definition() -> None:
    """Every I- or P-label that the library cites is defined in the core's README."""
    cited = {
        (label, path.name)
        for path in (ROOT / "makeparallel").rglob("*.py")
        for label in LABEL.findall(path.read_text())
    }
    assert set() == {(label, name) for label, name in cited if label not in defined_labels()}


def test_label_without_a_test() -> None:
    """Every defined label is proved by a test."""
    proved = {
        label
        for path in (ROOT / "tests").rglob("test_*.py")
        for label in re.findall(r"proves\(\"(\w+)\"\)", path.read_text())
    }
    assert set() == defined_labels() - proved


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_link_to_nowhere(page: Path) -> None:
    """Every relative link of every page leads to a file."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_too_long_to_read(page: Path) -> None:
    """Pages stay under 200 lines."""
    assert len(page.read_text().splitlines()) < 200


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sample_that_does_not_run(page: Path) -> None:
    """Each Python block of a page runs as a program of its own."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks or page.parent.name != "howto"
    for block in blocks:
        result = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_docstring_sample_that_lies() -> None:
    """The examples in the public docstrings give what they say."""
    program = (
        "import doctest, importlib, pkgutil, sys, makeparallel\n"
        "names = [m.name for m in pkgutil.iter_modules(makeparallel.__path__) if m.name != '__main__']\n"
        "modules = [importlib.import_module('makeparallel.' + name) for name in names]\n"
        "results = [doctest.testmod(module) for module in modules]\n"
        "print(sum(r.attempted for r in results))\n"
        "sys.exit(sum(r.failed for r in results))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout
    assert int(result.stdout) > 10
