"""What is written to a run, as plain entries; and what a failure to write one means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis
from sqlalchemy.exc import InterfaceError, OperationalError

from cytoloop.errors import listed

LogEntry = dict[str, Any]
"""One write, as JSON has it: ``{"kind": ..., ...}``, see `write_entry`."""

MAX_PARAM_CHARS = 6000
"""Characters of a parameter that MLflow keeps."""

_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "BAD_GATEWAY")


def write_entry(client: MlflowClient, run_id: str, entry: LogEntry) -> None:
    """Write one entry into the store; a second time changes nothing.

    Kinds and their keys: ``params`` (values), ``tags`` (values), ``metrics`` (values, step, time
    in ms), ``file`` (path, folder), ``text`` (text, name), ``dataset`` (name, digest, source,
    profile) and ``end`` (status, time).

    Raises
    ------
    MlflowException, OSError
        As the store or the way to it has them.
    """
    values: Mapping[str, Any] = entry.get("values", {})
    kind = entry["kind"]
    if kind == "metrics":
        rows = [Metric(k, v, entry["time"], entry["step"]) for k, v in values.items()]
        for start in range(0, len(rows), 500):
            client.log_batch(run_id, metrics=rows[start : start + 500])
    elif kind == "params":
        known = client.get_run(run_id).data.params  # those that are there stay as they are
        params = [Param(k, v[:MAX_PARAM_CHARS]) for k, v in values.items() if k not in known]
        for start in range(0, len(params), 100):
            client.log_batch(run_id, params=params[start : start + 100])
    elif kind == "tags":
        client.log_batch(run_id, tags=[RunTag(k, v) for k, v in values.items()])
    elif kind == "file":
        client.log_artifact(run_id, entry["path"], entry["folder"])
    elif kind == "text":
        client.log_text(run_id, entry["text"], entry["name"])
    elif kind == "dataset":
        data = Dataset(
            entry["name"], entry["digest"], "local", entry["source"], profile=entry["profile"]
        )
        context = InputTag("mlflow.data.context", "training")
        client.log_inputs(run_id, [DatasetInput(data, [context])])
    else:
        client.set_terminated(run_id, entry["status"], entry["time"])


def is_unavailable(error: BaseException) -> bool:
    """Tell a store that does not answer, which may come back, from one that refuses."""
    if isinstance(error, MlflowException):
        return str(error.error_code) in _AWAY
    if isinstance(error, (OperationalError, InterfaceError)):  # a database cut MLflow off
        return True
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def metrics_entry(values: Mapping[str, float], step: int) -> LogEntry:
    """Return metrics at a step, now; values that are no finite number are left out."""
    finite = {
        k: float(v)
        for k, v in values.items()
        if v is not None and float("-inf") < float(v) < float("inf")
    }
    return {"kind": "metrics", "values": finite, "step": step, "time": get_current_time_millis()}


def file_entry(path: str | Path, folder: str | None) -> LogEntry:
    """Return a file, by its absolute path."""
    return {"kind": "file", "path": str(Path(path).absolute()), "folder": folder}


def end_entry(status: str) -> LogEntry:
    """Return the end of a run, now."""
    return {"kind": "end", "status": status, "time": get_current_time_millis()}


def describe_entry(entry: LogEntry) -> str:
    """Return what an entry is, in a few words."""
    if entry["kind"] in ("file", "text"):
        return f"file {Path(entry.get('path') or entry['name']).name}"
    names = sorted(entry.get("values", {}))
    return f"{entry['kind']} {listed(names, 4)}".strip()


def to_json_line(entry: LogEntry) -> str:
    """Return an entry as a line of JSON."""
    return json.dumps(entry) + "\n"


def from_json_line(line: str) -> LogEntry | None:
    """Return the entry of a line, None of one that was cut off by a crash."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry else None
