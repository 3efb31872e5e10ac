"""Files that a training leaves in its MLflow run or in its output folder."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path

from cytoloop.errors import ModelError
from cytoloop.home import expand_home
from cytoloop.tracking.output_folder import OVERRIDES_FILE, RUN_ID


def find_artifact(source: str, name: str) -> Path:
    """Return the local path of a file that a training left.

    Parameters
    ----------
    source : str
        ``runs:/ID``, or the output folder.
    name : str
        Name of the file.

    Returns
    -------
    Path
        In a folder the file may be missing; a run's file exists.

    Raises
    ------
    ModelError
        There is no such run, or the run has no such file.
    """
    if not source.startswith("runs:"):
        folder = expand_home(source)
        return (folder / ".hydra" if name == OVERRIDES_FILE else folder) / name
    match = re.fullmatch(f"runs:/({RUN_ID})/?", source)
    if match is None:
        raise ModelError(source, "not a run URI", "Expected runs:/ID with an ID of 32 hex digits.")
    try:
        return fetch_artifact(match[1], name)
    except FileNotFoundError as error:
        raise ModelError(
            source,
            f"the run has no {name}",
            "Give the output folder of the training if it still exists, or another run.",
        ) from error


def fetch_artifact(run_id: str, name: str, tracking_uri: str | None = None) -> Path:
    """Return the local path of an artifact of a run; it is downloaded if it is elsewhere.

    Downloaded files are removed when the process ends.

    Parameters
    ----------
    run_id : str
    name : str
        Path of the artifact within the run, for example ``checkpoints/best.ckpt``.
    tracking_uri : str, optional
        Default: see `cytoloop.tracking.store.tracking_uri`.

    Raises
    ------
    ModelError
        The store has no such run.
    FileNotFoundError
        The run has no such artifact.
    """
    from mlflow.exceptions import MlflowException  # late: `cytoloop train --help` loads this module

    from cytoloop.tracking.run import open_run

    client = open_run(run_id, tracking_uri).client
    target = None  # artifacts on this machine are used where they are
    if not client.get_run(run_id).info.artifact_uri.startswith("file:"):
        target = tempfile.mkdtemp(prefix="cytoloop-artifact-")
        atexit.register(shutil.rmtree, target, ignore_errors=True)
    try:
        return Path(client.download_artifacts(run_id, name, target))
    except (MlflowException, OSError) as error:
        raise FileNotFoundError(name) from error
