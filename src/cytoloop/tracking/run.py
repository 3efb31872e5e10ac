"""One MLflow run holds one training, from its first step to its test scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cytoloop.errors import ModelError
from cytoloop.redact import redact_url
from cytoloop.tracking.log_entries import (
    MAX_PARAM_CHARS,
    LogEntry,
    end_entry,
    file_entry,
    metrics_entry,
    write_entry,
)
from cytoloop.tracking.spool import SPOOL_FILE, Spool
from cytoloop.tracking.store import connect, ensure_experiment

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_LONGEST_TAG = 1000


class TrackedRun:
    """A run in the store; what is written to it is there when the call returns.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    def _put(self, entry: LogEntry) -> None:
        write_entry(self.client, self.run_id, entry)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters (flattened config); those that are there already stay as they are."""
        texts = {k: str(v) for k, v in values.items()}
        self._put({"kind": "params", "values": texts})
        if long := {k: v for k, v in texts.items() if len(v) > MAX_PARAM_CHARS}:
            self.text(json.dumps(long, indent=1), "long_params.json")

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is left out."""
        texts = {k: str(v) for k, v in values.items() if v is not None}
        self._put({"kind": "tags", "values": texts})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step; values that are no finite number are left out."""
        self._put(metrics_entry(values, step))

    def files(self, paths: Iterable[str | Path], folder: str | None = None) -> None:
        """Store files that exist as artifacts of the run."""
        for path in paths:
            if Path(path).is_file():
                self._put(file_entry(path, folder))

    def text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self._put({"kind": "text", "text": text, "name": name})

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        """Name the training data as an input of the run."""
        facts = {"name": name, "digest": digest, "source": source, "profile": profile}
        self._put({"kind": "dataset", **facts})

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._put(end_entry(status))


class SpooledRun(TrackedRun):
    """A run whose store may be away for a while: nothing waits for it, nothing is lost.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    folder : Path
        Output folder of the training, which keeps the spool.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: Path) -> None:
        super().__init__(client, run_id)
        self.folder = folder
        self._spool = Spool(client, run_id, folder / SPOOL_FILE)
        _OPEN[run_id] = self

    def _put(self, entry: LogEntry) -> None:
        self._spool.put(entry)

    def end(self, status: str) -> None:
        """Close the run and wait, a bounded time, until the store has everything."""
        super().end(status)
        _OPEN.pop(self.run_id, None)
        if left := self._spool.close():
            log.warning(
                "the MLflow store is still away: %d entries wait in %s\n"
                "Send them when it is back: cytoloop sync %s",
                left,
                self._spool.path,
                self.folder,
            )


_OPEN: dict[str, SpooledRun] = {}


def active_run(run_id: str | None) -> SpooledRun | None:
    """Return the run of that id that a training of this process writes to."""
    return _OPEN.get(run_id or "")


def start_run(
    experiment: str, name: str, uri: str | None = None, run_id: str | None = None
) -> TrackedRun:
    """Start a run, or take up the one that is resumed.

    Raises
    ------
    ConfigError
        The store does not answer.
    ModelError
        The run to resume is not in this store.
    """
    client = connect(uri)
    if run_id is not None:
        run = open_run(run_id, uri, client)
        client.update_run(run_id, status="RUNNING")
        return run
    made = client.create_run(ensure_experiment(client, experiment), run_name=name)
    return TrackedRun(client, made.info.run_id)


def open_run(run_id: str, uri: str | None = None, client: MlflowClient | None = None) -> TrackedRun:
    """Return a run that is in the store.

    Raises
    ------
    ModelError
        There is none of that id.
    """
    client = client or connect(uri)
    try:
        client.get_run(run_id)
    except MlflowException as error:
        raise ModelError(
            f"runs:/{run_id}",
            f"no such run in {redact_url(str(client.tracking_uri))}",
            "See the ids with `cytoloop ui`; set MLFLOW_TRACKING_URI if it is in another store.",
        ) from error
    return TrackedRun(client, run_id)


@contextmanager
def closing_run(run: TrackedRun, checkpoints: Path) -> Iterator[None]:
    """Close the run as its training ends: FINISHED, KILLED (stopped) or FAILED.

    Whatever the end, the checkpoints that exist are stored with the run. Of a failure the tag
    ``cytoloop.failure`` tells the reason.
    """
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):  # Lightning leaves by SystemExit after a Ctrl-C
        status = "KILLED"
        raise
    except Exception as error:
        run.tags({"cytoloop.failure": f"{type(error).__name__}: {error}"[:_LONGEST_TAG]})
        raise
    finally:
        try:
            run.files([checkpoints / "best.ckpt", checkpoints / "last.ckpt"], CHECKPOINTS)
        finally:
            run.end(status)
