"""The import contracts of pyproject.toml, and what must start without heavy packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cytoloop

SOURCE = Path(cytoloop.__file__).parent
ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "lightning", "mlflow", "cyto_dl", "monai"}


def test_import_contracts_hold() -> None:
    # its own process: import-linter disables all loggers of the process that calls it
    words = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_verbs_stay_thin() -> None:
    for file in (SOURCE / "cli" / "commands").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 110, f"{file.name}: move code into a noun"


def loaded_by(*words: str) -> set[str]:
    """Return the top-level packages in memory after `cytoloop WORDS` in a fresh process."""
    code = (
        "import sys; from cytoloop.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_help_loads_only_the_standard_library() -> None:
    heavy = {*HEAVY, "hydra", "omegaconf", "numpy", "rich", "pandas", "bioio"}
    assert not loaded_by("--help") & heavy


@pytest.mark.parametrize(
    "verb",
    [
        *("curate", "annotate", "combine", "check", "train", "predict", "evaluate", "compare"),
        *("models", "history", "status", "cancel", "rank", "view"),
    ],
)
@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_verb_help_and_config_load_no_torch(verb: str, flags: list[str]) -> None:
    loaded = loaded_by(verb, *flags)
    assert "hydra" in loaded
    assert not loaded & {*HEAVY, "numpy", "pandas", "bioio", "skimage", "scipy"}


def test_curation_and_manifest_start_without_the_gpu_stack() -> None:
    code = "import sys, cytoloop.curation, cytoloop.manifest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {*HEAVY, "pandas", "bioio", "skimage"}
