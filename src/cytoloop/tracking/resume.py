"""Which stopped run goes on: ``resume=true``, a run's folder, or ``runs:/ID``."""

from __future__ import annotations

from pathlib import Path

from cytoloop.errors import ModelError

FINISHED = "finished"
"""Name of the file that a finished training leaves in its folder."""


def find_resumable(which: str, runs_dir: str | Path = "runs") -> Path:
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
        known = sorted(Path(runs_dir, "train").glob("*/checkpoints/last.ckpt"))
        open_ = [p.parent.parent for p in known if not (p.parent.parent / FINISHED).is_file()]
        if not open_:
            raise ModelError(
                f"{runs_dir}/train",
                "no stopped run to resume here",
                "Name its folder: resume=FOLDER (the output= of that training).",
            )
        return max(open_, key=lambda p: (p / "checkpoints" / "last.ckpt").stat().st_mtime)
    if which.startswith("runs:/"):
        from cytoloop.tracking.run import open_run

        run = open_run(which.removeprefix("runs:/").strip("/"))
        folder = Path(run.client.get_run(run.run_id).data.tags.get("cytoloop.output", ""))
    else:
        folder = Path(which).expanduser()
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        raise ModelError(
            which,
            f"no checkpoints/last.ckpt in {folder}",
            "A run can be resumed from its first validation on; else start it again.",
        )
    return folder
