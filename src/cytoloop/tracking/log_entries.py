"""Log entries: single writes to an MLflow run as plain data, and how to write one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import InterfaceError, OperationalError

from cytoloop.errors import join_names

LogEntry = dict[str, Any]
"""One write as JSON: ``{"kind": ..., ...}``, see `write_entry`."""

MAX_PARAM_CHARS = 6000
"""Characters that MLflow keeps of a parameter."""

_METRICS_PER_REQUEST, _PARAMS_PER_REQUEST = 500, 100  # MLflow accepts 1000 and 100
_UNAVAILABLE = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "BAD_GATEWAY",
)


def write_entry(client: MlflowClient, run_id: str, entry: LogEntry) -> None:
    """Write one entry to the store. Writing it again changes nothing.

    Kinds and their keys: ``params`` (values), ``tags`` (values), ``metrics`` (values, step, time
    in ms), ``file`` (path, folder), ``text`` (text, name), ``dataset`` (name, digest, source,
    profile) and ``end`` (status, time in ms).

    Raises
    ------
    MlflowException, OSError, SQLAlchemyError
        From the store or the connection to it.
    """
    values: Mapping[str, Any] = entry.get("values", {})
    kind = entry["kind"]
    if kind == "metrics":
        rows = [Metric(k, v, entry["time"], entry["step"]) for k, v in values.items()]
        for start in range(0, len(rows), _METRICS_PER_REQUEST):
            client.log_batch(run_id, metrics=rows[start : start + _METRICS_PER_REQUEST])
    elif kind == "params":
        known = client.get_run(run_id).data.params  # MLflow refuses to change a parameter
        params = [Param(k, v[:MAX_PARAM_CHARS]) for k, v in values.items() if k not in known]
        for start in range(0, len(params), _PARAMS_PER_REQUEST):
            client.log_batch(run_id, params=params[start : start + _PARAMS_PER_REQUEST])
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
    """Return whether an error means that the store is unavailable, so that a retry may work.

    False: the store answered and refused the entry, or a file of the entry is missing.
    """
    if isinstance(error, MlflowException):
        return str(error.error_code) in _UNAVAILABLE
    if isinstance(error, (OperationalError, InterfaceError)):  # a database without MLflow's wrapper
        return True
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def metrics_entry(values: Mapping[str, float], step: int) -> LogEntry:
    """Return an entry with metrics at a step, stamped now; non-finite values are left out."""
    finite = {k: float(v) for k, v in values.items() if v is not None and isfinite(float(v))}
    return {"kind": "metrics", "values": finite, "step": step, "time": _milliseconds()}


def file_entry(path: str | Path, folder: str | None) -> LogEntry:
    """Return an entry with a file for an artifact folder of the run, None for its root."""
    return {"kind": "file", "path": str(Path(path).absolute()), "folder": folder}


def end_entry(status: str) -> LogEntry:
    """Return an entry that ends the run, stamped now."""
    return {"kind": "end", "status": status, "time": _milliseconds()}


def describe_entry(entry: LogEntry) -> str:
    """Return an entry in a few words, for a message."""
    if entry["kind"] in ("file", "text"):
        return f"file {Path(entry.get('path') or entry['name']).name}"
    names = sorted(entry.get("values", {}))
    return f"{entry['kind']} {join_names(names, 4)}".strip()


def to_json_line(entry: LogEntry) -> str:
    """Return an entry as a line of JSON."""
    return json.dumps(entry) + "\n"


def from_json_line(line: str) -> LogEntry | None:
    """Return the entry on a line, None if a crash has cut the line off."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry else None


def _milliseconds() -> int:
    return int(time.time() * 1000)
