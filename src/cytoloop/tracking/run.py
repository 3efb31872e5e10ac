"""One MLflow run holds one training, from its first step to its test scores."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis

from cytoloop.errors import ModelError
from cytoloop.tracking.store import connect, experiment_id

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


class TrackedRun:
    """A run in the store.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters (flattened config); those that are there already stay as they are."""
        known = self.client.get_run(self.run_id).data.params
        new = [Param(k, str(v)[:6000]) for k, v in values.items() if k not in known]
        for start in range(0, len(new), 100):
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is left out."""
        tags = [RunTag(k, str(v)) for k, v in values.items() if v is not None]
        self.client.log_batch(self.run_id, tags=tags)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step; values that are no finite number are left out."""
        now = get_current_time_millis()
        rows = [
            Metric(k, float(v), now, step)
            for k, v in values.items()
            if v is not None and float("-inf") < float(v) < float("inf")
        ]
        for start in range(0, len(rows), 500):
            self.client.log_batch(self.run_id, metrics=rows[start : start + 500])

    def files(self, paths: Iterable[str | Path], folder: str | None = None) -> None:
        """Store files that exist as artifacts of the run."""
        for path in paths:
            if Path(path).is_file():
                self.client.log_artifact(self.run_id, str(path), folder)

    def text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self.client.log_text(self.run_id, text, name)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


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
    made = client.create_run(experiment_id(client, experiment), run_name=name)
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
            f"no such run in {client.tracking_uri}",
            "See the ids with `cytoloop ui`; set MLFLOW_TRACKING_URI if it is in another store.",
        ) from error
    return TrackedRun(client, run_id)


@contextmanager
def ending(run: TrackedRun, checkpoints: Path) -> Iterator[None]:
    """Close the run as its training ends: FINISHED, KILLED (stopped) or FAILED.

    Whatever the end, the checkpoints that exist are stored with the run.
    """
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):  # Lightning leaves by SystemExit after a Ctrl-C
        status = "KILLED"
        raise
    finally:
        try:
            run.files([checkpoints / "best.ckpt", checkpoints / "last.ckpt"], CHECKPOINTS)
        finally:
            run.end(status)
