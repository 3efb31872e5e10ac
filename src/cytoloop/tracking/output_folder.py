"""The output folder of a training: the files with its run id, its state and its final scores."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytoloop.errors import OutputError
from cytoloop.io.atomic import replacing

RUN_ID = "[0-9a-f]{32}"
"""Pattern of the id of an MLflow run."""

CONFIG_FILE = "config.yaml"
"""The composed config; also an artifact of the run."""

OVERRIDES_FILE = "overrides.yaml"
"""The overrides as typed, in ``.hydra/``; also an artifact of the run."""

RUN_ID_FILE = "run_id"
PROGRESS_FILE = "progress.jsonl"
LAST_CHECKPOINT = "checkpoints/last.ckpt"
_PREVIOUS_CHECKPOINT = "checkpoints/last-1.ckpt"  # see cytoloop.training.checkpoint_io
DIAGNOSIS_FILE = "diagnosis.json"
"""What the curves and the data of a training say at its end, a list of findings."""
FINISHED_FILE = "finished"
"""A finished training writes this file with its final scores as JSON."""


def check_not_trained(folder: Path) -> None:
    """Refuse an output folder that holds a trained model.

    Raises
    ------
    OutputError
        The folder has a last checkpoint.
    """
    if (folder / LAST_CHECKPOINT).is_file():
        raise OutputError(
            str(folder),
            "the folder holds a trained model",
            "Choose another output=, continue with resume=FOLDER, or replace it: overwrite=true.",
        )


def clear_output_folder(folder: Path, resumed: bool = False) -> None:
    """Remove what an earlier training left, so that the new run does not inherit its model.

    Parameters
    ----------
    folder : Path
    resumed : bool
        True: the same run continues. Only the mark that it has finished is removed.
    """
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    if resumed:
        return
    for name in ("checkpoints", "snapshots", "export"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (PROGRESS_FILE, DIAGNOSIS_FILE, "curves.png"):
        (folder / name).unlink(missing_ok=True)


def can_resume(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint from which its training can continue."""
    return last_saved(folder) is not None


def last_saved(folder: Path) -> float | None:
    """Return when the last checkpoint was written, in seconds since 1970; None without one."""
    files = (folder / LAST_CHECKPOINT, folder / _PREVIOUS_CHECKPOINT)
    return max((path.stat().st_mtime for path in files if path.is_file()), default=None)


def write_final_scores(folder: Path, scores: Mapping[str, float]) -> None:
    """Mark a training as finished, with its final scores (name to value)."""
    with replacing(folder / FINISHED_FILE) as temporary:
        temporary.write_text(json.dumps(dict(scores)) + "\n", encoding="utf-8")


def read_final_scores(folder: Path) -> dict[str, float]:
    """Return the final scores (name to value) of a finished training, empty before its end."""
    try:
        content = json.loads((folder / FINISHED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    scores = content.items() if isinstance(content, dict) else ()
    return {str(name): value for name, value in scores if isinstance(value, float)}


def write_findings(folder: Path, findings: Sequence[Mapping[str, str]]) -> Path:
    """Write the findings of a diagnosis, each with ``name``, ``text`` and ``next``."""
    with replacing(folder / DIAGNOSIS_FILE) as temporary:
        temporary.write_text(json.dumps(list(findings), indent=1) + "\n", encoding="utf-8")
    return folder / DIAGNOSIS_FILE


def read_findings(folder: Path) -> list[dict[str, str]]:
    """Return the findings of a training's diagnosis, empty before its end."""
    try:
        content = json.loads((folder / DIAGNOSIS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    keys = ("name", "text", "next")
    found = content if isinstance(content, list) else []
    return [one for one in found if isinstance(one, dict) and all(key in one for key in keys)]


def read_run_id(folder: Path) -> str | None:
    """Return the id of the MLflow run that writes into an output folder, None if it is unknown."""
    try:
        text = (folder / RUN_ID_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch(RUN_ID, text) else None
