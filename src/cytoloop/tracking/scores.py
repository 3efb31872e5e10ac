"""Test scores into the run that made the model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.tracking.run import open_run

log = logging.getLogger(__name__)


def record_scores(
    rows: Sequence[Mapping[str, Any]], means: Mapping[str, Any], files: Iterable[str | Path]
) -> None:
    """Log means as ``test/...`` metrics and the files as artifacts of the run.

    Predictions of other tools, or of a model file without a run, have none: nothing is logged,
    and that is said.

    Parameters
    ----------
    rows : sequence of mappings
        One an image, with ``run_id`` where it is known.
    means : mapping
        Score name to mean; None is left out.
    files : iterable of paths
    """
    runs = {str(row.get("run_id") or "") for row in rows}
    if len(runs) != 1 or "" in runs:
        log.info("the predictions are not of one MLflow run: scores are in the files only")
        return
    run = open_run(runs.pop())
    values = {f"test/{name}": v for name, v in means.items() if isinstance(v, (int, float))}
    run.metrics(values)
    run.files(files, "evaluation")
    log.info("scores are in MLflow run %s as test/...", run.run_id)
