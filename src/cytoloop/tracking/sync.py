"""Delivery of entries that a training could not send to the MLflow store."""

from __future__ import annotations

from pathlib import Path

from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.run import open_run
from cytoloop.tracking.spool import SPOOL_FILE, Spool, read_spool


def send_spooled(folder: str | Path, uri: str | None = None) -> int:
    """Send the spooled entries of a training and return their number.

    Parameters
    ----------
    folder : str or Path
        Output folder of the training.
    uri : str, optional
        Tracking URI; default: see `cytoloop.tracking.store.tracking_uri`.

    Raises
    ------
    ModelError
        There is no such folder, or the store has no such run.
    ConfigError
        The run is deleted, or the store does not answer or stops answering before everything is
        sent.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(str(folder), "no such folder", "Give the output folder of a training.")
    path = folder / SPOOL_FILE
    if not path.is_file():
        return 0
    run_id, entries = read_spool(path)
    if not entries:
        path.unlink()
        return 0
    run = open_run(run_id, uri)
    if run.is_deleted():
        raise ConfigError(
            f"runs:/{run_id}",
            f"is deleted in the MLflow store; {len(entries)} entries are kept in {path}",
            f"Restore it (`mlflow runs restore --run-id {run_id}`), then `cytoloop sync {folder}`.",
        )
    spool = Spool(run.client, run_id, path)
    if left := spool.close():
        raise ConfigError(
            "MLflow store",
            f"stopped answering: {left} of {len(entries)} entries are still in {path}",
            f"Run `cytoloop sync {folder}` again later.",
        )
    return len(entries)
