"""Test scores in MLflow runs: evaluations are stored in the run that made the model."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.io.names import path_in_url, stem
from cytoloop.redact import redact_url
from cytoloop.tracking.artifacts import fetch_artifact
from cytoloop.tracking.output_folder import RUN_ID
from cytoloop.tracking.run import TrackedRun, open_run

log = logging.getLogger(__name__)

EVALUATION_FOLDER = "evaluation"
"""Artifact folder with a sub-folder for each evaluation."""

LATEST_TAG = "cytoloop.evaluation"
"""Tag with the artifact folder of the latest evaluation; ``LATEST_TAG.N`` has the folder of N."""


def record_scores(
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any],
    files: Iterable[str | Path],
    truth: str = "",
) -> None:
    """Store an evaluation in the run that made the model, see `record_evaluation`.

    Predictions of other tools, of several models or of a model file without a run belong to no
    single run: then nothing is stored, and a line on the terminal says so.

    Parameters
    ----------
    rows : sequence of mappings
        One per image, with ``run_id`` if it is known.
    scores, files, truth
        See `record_evaluation`.
    """
    runs = {str(row.get("run_id") or "") for row in rows}
    if len(runs) != 1 or "" in runs:
        log.info("scores are not stored in MLflow: the predictions do not come from one run")
        return
    run = open_run(runs.pop())
    folder = record_evaluation(run, next_evaluation_number(run), scores, files, truth)
    log.info("stored in MLflow run %s: scores as test/..., files in %s/", run.run_id, folder)


def record_evaluation(
    run: TrackedRun,
    number: int,
    scores: Mapping[str, Any],
    files: Iterable[str | Path],
    truth: str,
) -> str:
    """Store an evaluation in a run and return its artifact folder.

    Earlier evaluations are kept: the number is the step of the metrics.

    Parameters
    ----------
    run : TrackedRun
    number : int
        See `next_evaluation_number`.
    scores : mapping
        Name to value, logged as ``test/NAME``; values that are no number are left out.
    files : iterable of paths
    truth : str
        Path or URL of the truth; it is part of the folder's name.
    """
    parts = PurePath(path_in_url(truth)).parts
    name = "_".join(stem(part) for part in parts[-2:] if not re.search(r"[*?\[{/\\]", part))
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60]
    folder = f"{EVALUATION_FOLDER}/{number}_{name}" if name else f"{EVALUATION_FOLDER}/{number}"
    values = {f"test/{key}": v for key, v in scores.items() if isinstance(v, (int, float))}
    run.metrics(values, number)
    run.files(files, folder)
    run.tags({f"{LATEST_TAG}.{number}": f"{folder}: {redact_url(truth)}", LATEST_TAG: folder})
    return folder


def next_evaluation_number(run: TrackedRun) -> int:
    """Return the number of the next evaluation of a run, from 1."""
    tags = run.client.get_run(run.run_id).data.tags
    numbers = [key[len(LATEST_TAG) + 1 :] for key in tags if key.startswith(f"{LATEST_TAG}.")]
    return max((int(n) for n in numbers if n.isdigit()), default=0) + 1


def locate_scores(source: str) -> str | Path:
    """Return the folder or table of an evaluation; ``runs:/ID`` is downloaded."""
    return fetch_scores(source) if source.startswith("runs:") else source


def fetch_scores(uri: str) -> Path:
    """Return the local path of ``metrics.csv`` of an evaluation that a run holds.

    Parameters
    ----------
    uri : str
        ``runs:/ID`` (the latest evaluation) or ``runs:/ID/FOLDER``, for example
        ``runs:/ID/2_test``.

    Raises
    ------
    ModelError
        The URI is wrong, or there is no such run or evaluation.
    """
    match = re.fullmatch(rf"runs:/({RUN_ID})(?:/(\d+[\w-]*))?/?", uri.strip())
    if match is None:
        raise ModelError(
            uri,
            "not a run URI",
            "Expected runs:/ID with an ID of 32 hex digits, or runs:/ID/FOLDER of an evaluation.",
        )
    tags = open_run(match[1]).client.get_run(match[1]).data.tags
    # earlier versions stored the files in the folder itself and set no tag
    latest = tags.get(LATEST_TAG, EVALUATION_FOLDER)
    folder = f"{EVALUATION_FOLDER}/{match[2]}" if match[2] else latest
    try:
        return fetch_artifact(match[1], f"{folder}/metrics.csv")
    except FileNotFoundError as error:
        raise ModelError(
            uri,
            f"the run has no evaluation{f' {match[2]}' if match[2] else ''}",
            "Predict with its model and run `cytoloop evaluate` on the predictions.",
        ) from error
