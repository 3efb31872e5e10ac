"""The stopped training to continue: ``resume=true``, its output folder, or ``runs:/ID``."""

from __future__ import annotations

from pathlib import Path

from cytoloop.errors import ModelError
from cytoloop.home import expand_home
from cytoloop.tracking.output_folder import (
    FINISHED_FILE,
    LAST_CHECKPOINT,
    can_resume,
    last_saved,
)

_FOLDER_LIST = "trainings.txt"
"""In ``paths.runs_dir``: the output folder of each training, one per line, oldest first."""


def find_run_to_resume(which: str, runs_dir: str | Path = "runs") -> Path:
    """Return the output folder of the training to continue.

    Parameters
    ----------
    which : str
        ``true`` (the training that was saved last and has not finished), an output folder, or
        ``runs:/ID``.
    runs_dir : str or Path
        Folder of the list of trainings.

    Raises
    ------
    ModelError
        There is no such training on this machine, or it has no last checkpoint.
    """
    if which.lower() == "true":
        return _last_stopped(runs_dir)
    if which.startswith("runs:/"):
        from cytoloop.tracking.run import open_run

        run = open_run(which.removeprefix("runs:/").strip("/"))
        folder = Path(run.client.get_run(run.run_id).data.tags.get("cytoloop.output", ""))
    else:
        folder = expand_home(which)
    if not can_resume(folder):
        raise ModelError(
            which,
            f"no {LAST_CHECKPOINT} in {folder}",
            "A training can be resumed after its first validation; otherwise start it again.",
        )
    return folder


def _last_stopped(runs_dir: str | Path) -> Path:
    folders = [f for f in list_training_folders(runs_dir) if not (f / FINISHED_FILE).is_file()]
    saved = {folder: when for folder in folders if (when := last_saved(folder)) is not None}
    if not saved:
        raise ModelError(
            f"{runs_dir}/{_FOLDER_LIST}",
            "lists no stopped training to resume",
            "Give its output folder: resume=FOLDER.",
        )
    return max(saved, key=saved.__getitem__)


def add_training_folder(folder: Path, runs_dir: str | Path) -> None:
    """Add an output folder to the list of trainings, so that ``resume=true`` finds it."""
    file = Path(runs_dir, _FOLDER_LIST)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{folder.absolute()}\n")


def list_training_folders(runs_dir: str | Path) -> list[Path]:
    """Return the output folders of all trainings here, ordered by their latest start."""
    file = Path(runs_dir, _FOLDER_LIST)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [Path(line) for line in reversed(dict.fromkeys(reversed(lines)))]
