"""Links, pictures and mentions of documentation pages lead somewhere; the site builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Pages that GitHub or an editor shows from the repository; mkdocs checks those of the site.
REPOSITORY_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def _markdown(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize(
    "page", [*REPOSITORY_PAGES, *(f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*"))]
)
def test_links_of_a_repository_page_exist(page: str) -> None:
    path = ROOT / page
    broken = [link for link in LINK.findall(_markdown(path)) if not (path.parent / link).exists()]
    assert not broken


def test_pages_that_messages_and_comments_name_exist() -> None:
    """Errors, help texts and comments of configs name pages as `docs/...md`."""
    files = [
        path
        for folder, pattern in (
            ("src", "*.py"),
            ("configs", "*.yaml"),
            ("experiments", "*.*"),
            ("benchmarks", "*.py"),
            ("scripts", "*.py"),
        )
        for path in (ROOT / folder).rglob(pattern)
    ]
    assert len(files) > 200
    broken = {
        f"{path.relative_to(ROOT)}: {page}"
        for path in [*files, ROOT / "Makefile"]
        for page in re.findall(r"docs/[\w/-]+\.(?:md|png)", path.read_text(encoding="utf-8"))
        if not (ROOT / page).exists()
    }
    assert not broken


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Links, anchors, pictures, navigation and the Python reference."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").exists()
