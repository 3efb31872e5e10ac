"""What a training could not send: to the store, when that is back."""

from __future__ import annotations

import logging
from pathlib import Path

from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.run import open_run
from cytoloop.tracking.spool import SPOOL_FILE, Spool, read_spool

log = logging.getLogger(__name__)


def send_spooled(folder: str | Path, uri: str | None = None) -> int:
    """Send what waits in the spool of a training; return the number of entries.

    Parameters
    ----------
    folder : str or Path
        Output folder of the training.
    uri : str, optional
        Of the store, see `cytoloop.tracking.store.tracking_uri`.

    Raises
    ------
    ModelError
        No such folder, or a run that is not in this store.
    ConfigError
        The store does not answer, or goes away meanwhile.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(str(folder), "no such folder", "Name the output folder of a training.")
    path = folder / SPOOL_FILE
    if not path.is_file():
        return 0
    run_id, entries = read_spool(path)
    if not entries:
        path.unlink()
        return 0
    spool = Spool(open_run(run_id, uri).client, run_id, path)
    if left := spool.close():
        raise ConfigError(
            "the MLflow store",
            f"went away: {left} of {len(entries)} entries still wait in {path}",
            f"Run `cytoloop sync {folder}` again later.",
        )
    return len(entries)
