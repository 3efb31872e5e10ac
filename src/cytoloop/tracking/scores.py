"""Test scores into the run that made the model, and out of it again."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.io.names import stem
from cytoloop.redact import redact_url
from cytoloop.tracking.checkpoints import fetch_artifact
from cytoloop.tracking.run import TrackedRun, open_run
from cytoloop.urls import plain_path

log = logging.getLogger(__name__)

EVALUATION_FOLDER = "evaluation"
LATEST_TAG = "cytoloop.evaluation"
"""Tag: the folder of artifacts of the latest evaluation; of number N it is ``LATEST.N``."""


def record_scores(
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any],
    files: Iterable[str | Path],
    truth: str = "",
) -> None:
    """Log an evaluation into the run that made the model, see `record_evaluation`.

    Predictions of other tools, or of a model file without a run, have none: nothing is logged,
    and that is said.

    Parameters
    ----------
    rows : sequence of mappings
        One an image, with ``run_id`` where it is known.
    scores, files, truth
        See `record_evaluation`.
    """
    runs = {str(row.get("run_id") or "") for row in rows}
    if len(runs) != 1 or "" in runs:
        log.info("the predictions are not of one MLflow run: scores are in the files only")
        return
    run = open_run(runs.pop())
    folder = record_evaluation(run, next_evaluation_number(run), scores, files, truth)
    log.info("scores are in MLflow run %s as test/..., files in %s/", run.run_id, folder)


def record_evaluation(
    run: TrackedRun,
    number: int,
    scores: Mapping[str, Any],
    files: Iterable[str | Path],
    truth: str,
) -> str:
    """Log an evaluation beside those that a run has; return its folder of artifacts.

    The number is the step of the metrics: the run shows the latest ones and keeps the others.

    Parameters
    ----------
    run : TrackedRun
    number : int
        See `next_evaluation_number`.
    scores : mapping
        Name to value, logged as ``test/...``; None is left out.
    files : iterable of paths
    truth : str
        What it was scored against; names the folder.
    """
    parts = PurePath(plain_path(truth)).parts
    name = "_".join(stem(part) for part in parts[-2:] if not re.search(r"[*?\[{/\\]", part))
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60]
    folder = f"{EVALUATION_FOLDER}/{number}_{name}" if name else f"{EVALUATION_FOLDER}/{number}"
    values = {f"test/{key}": v for key, v in scores.items() if isinstance(v, (int, float))}
    run.metrics(values, number)
    run.files(files, folder)
    run.tags({f"{LATEST_TAG}.{number}": f"{folder}: {redact_url(truth)}", LATEST_TAG: folder})
    return folder


def next_evaluation_number(run: TrackedRun) -> int:
    """Return the number of the evaluation that comes next, from 1."""
    tags = run.client.get_run(run.run_id).data.tags
    numbers = [key[len(LATEST_TAG) + 1 :] for key in tags if key.startswith(f"{LATEST_TAG}.")]
    return max((int(n) for n in numbers if n.isdigit()), default=0) + 1


def locate_scores(source: str) -> str | Path:
    """Return the folder or table of an evaluation; that of a run (``runs:/ID``) is fetched."""
    return fetch_scores(source) if source.startswith("runs:") else source


def fetch_scores(uri: str) -> Path:
    """Return ``metrics.csv`` of an evaluation of a run.

    Parameters
    ----------
    uri : str
        ``runs:/ID`` (the latest one) or ``runs:/ID/FOLDER``, for example ``runs:/ID/2_test``.

    Raises
    ------
    ModelError
        No run URI, no such run, or no such evaluation.
    """
    match = re.fullmatch(r"runs:/([0-9a-f]{32})(?:/(\d+[\w-]*))?/?", uri.strip())
    if match is None:
        raise ModelError(
            uri, "is no run URI", "Expected runs:/ID (32 hex), or runs:/ID/FOLDER of an evaluation."
        )
    tags = open_run(match[1]).client.get_run(match[1]).data.tags
    latest = tags.get(
        LATEST_TAG, EVALUATION_FOLDER
    )  # runs of earlier versions have it in the folder itself
    folder = f"{EVALUATION_FOLDER}/{match[2]}" if match[2] else latest
    try:
        return fetch_artifact(match[1], f"{folder}/metrics.csv")
    except FileNotFoundError as error:
        raise ModelError(
            uri,
            f"the run has no evaluation{f' {match[2]}' if match[2] else ''}",
            "Predict with its model and run `cytoloop evaluate` on the predictions.",
        ) from error
