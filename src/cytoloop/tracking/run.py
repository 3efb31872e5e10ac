"""MLflow runs: one run holds one training, from its first step to its test scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
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
from cytoloop.tracking.study_store import only_writer, study_folder

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
"""Artifact folder of the checkpoints."""

_MAX_TAG_CHARS = 1000


class TrackedRun:
    """A run in the store. Each call returns after its data is written.

    Parameters
    ----------
    client : MlflowClient
    run_id : str

    Attributes
    ----------
    last_steps : dict of str to int
        The last step of each metric that an earlier process logged to the run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.last_steps: dict[str, int] = {}

    def is_deleted(self) -> bool:
        """Return whether the run is deleted in the store, where it can be restored."""
        stage = self.client.get_run(self.run_id).info.lifecycle_stage
        return bool(stage == LifecycleStage.DELETED)

    def _put(self, entry: LogEntry) -> None:
        write_entry(self.client, self.run_id, entry)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters (the flattened config); existing parameters keep their values.

        MLflow cuts values off at `MAX_PARAM_CHARS`; these are also stored in full in the artifact
        ``long_params.json``.
        """
        texts = {k: str(v) for k, v in values.items()}
        self._put({"kind": "params", "values": texts})
        if long := {k: v for k, v in texts.items() if len(v) > MAX_PARAM_CHARS}:
            self.text(json.dumps(long, indent=1), "long_params.json")

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; values that are None are left out."""
        texts = {k: str(v) for k, v in values.items() if v is not None}
        self._put({"kind": "tags", "values": texts})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step; non-finite values are left out."""
        self._put(metrics_entry(values, step))

    def files(self, paths: Iterable[str | Path], folder: str | None = None) -> None:
        """Store files as artifacts of the run; files that do not exist are left out."""
        for path in paths:
            if Path(path).is_file():
                self._put(file_entry(path, folder))

    def text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self._put({"kind": "text", "text": text, "name": name})

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        """Log the training data as an input of the run."""
        facts = {"name": name, "digest": digest, "source": source, "profile": profile}
        self._put({"kind": "dataset", **facts})

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._put(end_entry(status))


class SpooledRun(TrackedRun):
    """A run that is written through a spool, so that its store may be unavailable for a while.

    Calls return at once; the spool sends their data and loses none of it. In a study, entries stay
    in the spool, and the study sends them.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    folder : Path
        Output folder of the training, where the spool file is kept.
    last_steps : mapping of str to int, optional
        See `last_logged_steps`.
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        folder: Path,
        last_steps: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(client, run_id)
        self.folder = folder
        self.last_steps = dict(last_steps or {})
        self._spool = Spool(client, run_id, folder / SPOOL_FILE, sends=study_folder() is None)
        _ACTIVE[run_id] = self

    def _put(self, entry: LogEntry) -> None:
        self._spool.put(entry)

    def end(self, status: str) -> None:
        """End the run and wait until all is sent; at most 30 s while the store is unavailable."""
        super().end(status)
        _ACTIVE.pop(self.run_id, None)
        if left := self._spool.close():
            reason = "has deleted this run" if self._spool.deleted else "still does not answer"
            log.warning(
                "the MLflow store %s: %d entries are kept in %s\n"
                "Send them when it is back: cytoloop sync %s",
                reason,
                left,
                self._spool.path,
                self.folder,
            )


_ACTIVE: dict[str, SpooledRun] = {}


def active_run(run_id: str | None) -> SpooledRun | None:
    """Return the spooled run of that id in this process, None if there is none."""
    return _ACTIVE.get(run_id or "")


def start_run(
    experiment: str, name: str, uri: str | None = None, run_id: str | None = None
) -> TrackedRun:
    """Start a run, or reopen the run with the given id.

    Parameters
    ----------
    experiment : str
        Name of the MLflow experiment.
    name : str
        Name of a new run.
    uri : str, optional
        Tracking URI; default: see `cytoloop.tracking.store.tracking_uri`.
    run_id : str, optional
        The run to reopen.

    Raises
    ------
    ConfigError
        The store does not answer.
    ModelError
        The store has no run with that id.
    """
    with only_writer(study_folder()):
        client = connect(uri)
        if run_id is not None:
            run = open_run(run_id, uri, client)
            client.update_run(run_id, status="RUNNING")
            return run
        created = client.create_run(ensure_experiment(client, experiment), run_name=name)
    return TrackedRun(client, created.info.run_id)


def open_run(run_id: str, uri: str | None = None, client: MlflowClient | None = None) -> TrackedRun:
    """Return an existing run.

    Raises
    ------
    ModelError
        The store has no run with that id.
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


def last_logged_steps(run: TrackedRun) -> dict[str, int]:
    """Return the last step of each metric of a run."""
    latest = run.client.get_run(run.run_id).data.to_proto().metrics
    return {metric.key: int(metric.step) for metric in latest}


@contextmanager
def closing_run(run: TrackedRun, checkpoints: Path) -> Iterator[None]:
    """End the run when the block ends: FINISHED, KILLED (stopped) or FAILED.

    In each case the existing checkpoints are stored with the run. The tag ``cytoloop.failure``
    holds the reason of a failure.

    Parameters
    ----------
    run : TrackedRun
    checkpoints : Path
        Folder of ``best.ckpt`` and ``last.ckpt``.
    """
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):  # Lightning raises SystemExit after Ctrl-C
        status = "KILLED"
        raise
    except Exception as error:
        run.tags({"cytoloop.failure": f"{type(error).__name__}: {error}"[:_MAX_TAG_CHARS]})
        raise
    finally:
        try:
            run.files([checkpoints / "best.ckpt", checkpoints / "last.ckpt"], CHECKPOINTS)
        finally:
            run.end(status)
