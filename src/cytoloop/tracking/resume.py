"""Which stopped run goes on: ``resume=true``, a run's folder, or ``runs:/ID``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ModelError
from cytoloop.io.atomic import replacing

LAST_CHECKPOINT = "checkpoints/last.ckpt"
_BEFORE = "checkpoints/last-1.ckpt"  # kept by cytoloop.training.checkpoint_io
FINISHED_FILE = "finished"
"""Name of the file that a finished training leaves in its folder, with its final scores."""


def find_run_to_resume(which: str, runs_dir: str | Path = "runs") -> Path:
    """Return the folder of the run to go on with.

    Parameters
    ----------
    which : str
        ``true`` (the newest that has not finished), a folder, or ``runs:/ID``.
    runs_dir : str or Path
        Where ``train/`` holds the runs.

    Raises
    ------
    ModelError
        There is none, it has no ``last.ckpt``, or its folder is not on this machine.
    """
    if which.lower() == "true":
        open_ = [folder for folder in _known(runs_dir) if not (folder / FINISHED_FILE).is_file()]
        if not open_:
            raise ModelError(
                f"{runs_dir}/train",
                "knows no stopped run to resume",
                "Name its folder: resume=FOLDER (the output= of that training).",
            )
        return max(open_, key=_last_saved)
    if which.startswith("runs:/"):
        from cytoloop.tracking.run import open_run

        run = open_run(which.removeprefix("runs:/").strip("/"))
        folder = Path(run.client.get_run(run.run_id).data.tags.get("cytoloop.output", ""))
    else:
        folder = Path(which).expanduser()
    if not can_resume(folder):
        raise ModelError(
            which,
            f"no {LAST_CHECKPOINT} in {folder}",
            "A run can be resumed from its first validation on; else start it again.",
        )
    return folder


def can_resume(folder: Path) -> bool:
    """Tell whether a training's folder holds a state to go on from."""
    return (folder / LAST_CHECKPOINT).is_file() or (folder / _BEFORE).is_file()


def write_final_scores(folder: Path, scores: Mapping[str, float]) -> None:
    """Leave word that a training has finished, and its final scores (name to value)."""
    with replacing(folder / FINISHED_FILE) as temporary:
        temporary.write_text(json.dumps(dict(scores)) + "\n", encoding="utf-8")


def add_training_folder(folder: Path, runs_dir: str | Path) -> None:
    """Remember where a training writes, so that ``resume=true`` finds it with any ``output=``."""
    notes = Path(runs_dir, _NOTES)
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("a", encoding="utf-8") as file:
        file.write(f"{folder.absolute()}\n")


_NOTES = "trainings.txt"


def list_training_folders(runs_dir: str | Path) -> list[Path]:
    """Return the output folders of the trainings here, in the order of their (last) start."""
    notes = Path(runs_dir, _NOTES)
    noted = notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else []
    return [Path(line) for line in reversed(dict.fromkeys(reversed(noted)))]


def _known(runs_dir: str | Path) -> list[Path]:
    """Return the folders of trainings here that have a last checkpoint."""
    return [folder for folder in list_training_folders(runs_dir) if can_resume(folder)]


def _last_saved(folder: Path) -> float:
    return max(
        p.stat().st_mtime for p in (folder / LAST_CHECKPOINT, folder / _BEFORE) if p.is_file()
    )
