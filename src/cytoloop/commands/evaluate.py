"""`cytoloop evaluate`: predictions and truth in; scores, tables and pictures out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.evaluation import evaluate, summary_table, write_overlays, write_tables

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Score, write, print, and add the scores to the runs that made the models."""
    from cytoloop.terminal import results

    evaluation = evaluate(cfg.predictions, cfg.truth)
    files = write_tables(evaluation, cfg.output)
    pictures = write_overlays(evaluation, Path(cfg.output) / "overlays", int(cfg.overlays))
    results.print(summary_table(evaluation))
    log.info("wrote %s and %d pictures", ", ".join(map(str, files)), len(pictures))
    if cfg.log_to_mlflow:
        from cytoloop.tracking.scores import record_scores

        record_scores(evaluation.rows, evaluation.summary["mean"], [*files, *pictures])
