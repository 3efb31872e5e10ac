"""The arrows between the rooms, as CONTRIBUTING has them; and what must stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cytoloop

SOURCE = Path(cytoloop.__file__).parent
SHARED = {
    "atomic",
    "classes",
    "digest",
    "errors",
    "manifest",
    "images",
    "instances",
    "pages",
    "parallel",
    "regions",
    "remote",
    "intensity",
    "targets",
    "terminal",
}
HEAVY = {"torch", "lightning", "mlflow", "cyto_dl", "monai"}
# room -> what it may import of ours, and of the heavy packages
ALLOWED = {
    **{room: (SHARED, set()) for room in SHARED},
    "curation": (SHARED, set()),
    "data": (SHARED | {"curation"}, {"torch", "lightning", "monai"}),
    "model": (SHARED, {"torch", "lightning", "monai", "cyto_dl"}),
    "inference": (SHARED | {"model"}, {"torch", "monai"}),
    "evaluation": (SHARED, set()),
    "tracking": (SHARED | {"overrides"}, {"mlflow", "lightning"}),
    "demo": (SHARED | {"evaluation"}, set()),
    "overrides": (set(), set()),
    "planning": (SHARED | {"data", "model"}, {"torch"}),
    "tuning": (SHARED | {"inference", "evaluation", "model"}, set()),
    "final": (SHARED | {"inference", "evaluation"}, set()),
    "validation": (SHARED | {"inference", "evaluation"}, {"torch", "lightning"}),
    "promotion": (SHARED | {"evaluation", "final", "tracking"}, set()),
}


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files_of(room: str) -> list[Path]:
    folder = SOURCE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{room}.py"]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_room_imports_only_what_the_house_allows(room: str) -> None:
    own, heavy = ALLOWED[room]
    for file in files_of(room):
        names = imports(file)
        rooms = {n.split(".")[1] for n in names if n.startswith("cytoloop.")} - {room}
        strange = rooms - own - {"__version__"}
        assert not strange, f"{file.name} imports {sorted(strange)}"
        packages = {n.split(".")[0] for n in names} & HEAVY
        assert packages <= heavy, f"{file.name} imports {sorted(packages - heavy)}"


def test_every_room_is_in_the_table() -> None:
    rooms = {p.stem for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert rooms - {"__init__", "__main__", "app", "commands", "configs"} == set(ALLOWED)


def test_verbs_import_no_verb_and_stay_thin() -> None:
    for file in (SOURCE / "commands").glob("*.py"):
        others = {n for n in imports(file) if n.startswith("cytoloop.commands.")}
        assert not others, f"{file.name} imports {others}"
        assert len(file.read_text().splitlines()) <= 110, f"{file.name} is no thin verb"


def test_only_tracking_and_the_verbs_import_mlflow() -> None:
    for file in SOURCE.rglob("*.py"):
        if file.parent.name not in ("tracking", "commands"):
            assert "mlflow" not in {n.split(".")[0] for n in imports(file)}, file


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
        *("curate", "annotate", "check", "train", "predict", "evaluate", "compare"),
        *("models", "history", "status", "cancel"),
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
