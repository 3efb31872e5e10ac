"""`cytoloop evaluate`: predictions and truth in; scores, tables, pictures and a report out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.evaluation import (
    Settings,
    as_metrics,
    evaluate,
    more_scores,
    summary_table,
    write_charts,
    write_overlays,
    write_report,
    write_tables,
)

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Score, write, print, and add the scores to the runs that made the models."""
    from cytoloop.terminal import results

    settings = Settings(
        tolerance_um=float(cfg.tolerance_um),
        spacing_um=list(cfg.spacing_um) if cfg.spacing_um else None,
        resamples=int(cfg.resamples),
        seed=int(cfg.seed),
        predictions_are=str(cfg.predictions_are),
        threshold=float(cfg.threshold),
    )
    evaluation = evaluate(cfg.predictions, cfg.truth, settings, cfg.annotator2)
    output = Path(cfg.output)
    files = write_tables(evaluation, output)
    charts = write_charts(evaluation, output / "figures")
    overlays = write_overlays(evaluation, output / "overlays", int(cfg.overlays))
    report = write_report(evaluation, output, charts, overlays)
    results.print(summary_table(evaluation))
    results.print(more_scores(evaluation))
    log.info("wrote %s and %d pictures", ", ".join(map(str, [*files, report])), len(overlays))
    if cfg.log_to_mlflow:
        from cytoloop.tracking.scores import record_scores

        everything = [*files, report, *charts, *overlays]
        record_scores(evaluation.rows, as_metrics(evaluation.summary), everything, str(cfg.truth))
