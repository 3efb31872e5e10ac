"""Test scores into the run that made the model, and out of it again."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.tracking.checkpoints import fetch_artifact
from cytoloop.tracking.run import open_run

log = logging.getLogger(__name__)

SCORES = "evaluation"


def record_scores(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any], files: Iterable[str | Path]
) -> None:
    """Log scores as ``test/...`` metrics and the files as artifacts of the run.

    Predictions of other tools, or of a model file without a run, have none: nothing is logged,
    and that is said.

    Parameters
    ----------
    rows : sequence of mappings
        One an image, with ``run_id`` where it is known.
    scores : mapping
        Name to value; None is left out.
    files : iterable of paths
    """
    runs = {str(row.get("run_id") or "") for row in rows}
    if len(runs) != 1 or "" in runs:
        log.info("the predictions are not of one MLflow run: scores are in the files only")
        return
    run = open_run(runs.pop())
    values = {f"test/{name}": v for name, v in scores.items() if isinstance(v, (int, float))}
    run.metrics(values)
    run.files(files, SCORES)
    log.info("scores are in MLflow run %s as test/...", run.run_id)


def locate_scores(source: str) -> str | Path:
    """Return the folder or table of an evaluation; that of a run (``runs:/ID``) is fetched."""
    return fetch_scores(source) if source.startswith("runs:") else source


def fetch_scores(uri: str) -> Path:
    """Return ``metrics.csv`` of the last evaluation of a run.

    Parameters
    ----------
    uri : str
        ``runs:/ID``.

    Raises
    ------
    ModelError
        No run URI, no such run, or none that was evaluated.
    """
    match = re.fullmatch(r"runs:/([0-9a-f]{32})/?", uri.strip())
    if match is None:
        raise ModelError(uri, "is no run URI", "Expected runs:/ID (32 hex).")
    try:
        return fetch_artifact(match[1], f"{SCORES}/metrics.csv")
    except FileNotFoundError as error:
        raise ModelError(
            uri,
            "the run has no evaluation",
            "Predict with its model and run `cytoloop evaluate` on the predictions.",
        ) from error
