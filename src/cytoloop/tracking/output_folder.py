"""The output folder of a training: it must not hold another one's model, asked or unasked."""

from __future__ import annotations

import shutil
from pathlib import Path

from cytoloop.errors import OutputError
from cytoloop.tracking.resume import FINISHED_FILE, LAST_CHECKPOINT


def check_not_trained(folder: Path) -> None:
    """Refuse a folder that holds a trained model.

    Raises
    ------
    OutputError
        It does.
    """
    if (folder / LAST_CHECKPOINT).is_file():
        raise OutputError(
            str(folder),
            "the folder holds a trained model",
            "Take another output=, go on with resume=FOLDER, or replace it with overwrite=true.",
        )


def clear_output_folder(folder: Path, resumed: bool = False) -> None:
    """Remove what a former training left: the new run must not inherit its model.

    Parameters
    ----------
    folder : Path
    resumed : bool
        The same run goes on: only its word that it has finished is taken back.
    """
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    if resumed:
        return
    for former in (folder / "checkpoints", folder / "snapshots"):
        shutil.rmtree(former, ignore_errors=True)
    for name in ("progress.jsonl", "curves.png"):
        (folder / name).unlink(missing_ok=True)
