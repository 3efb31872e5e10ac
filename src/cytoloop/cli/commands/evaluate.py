"""`cytoloop evaluate`: predictions and truth in; scores, tables, pictures and a report out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError
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
from cytoloop.evaluation.classes import (
    class_metrics,
    class_table,
    evaluate_classes,
    stated_classes,
    write_class_pictures,
    write_class_report,
    write_class_tables,
)
from cytoloop.truth.classes import read_names

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Score, write, print, and add the scores to the runs that made the models."""
    from cytoloop.cli.app import config_to_dict

    settings = Settings(
        tolerance_um=float(cfg.tolerance_um),
        spacing_um=list(cfg.spacing_um) if cfg.spacing_um else None,
        resamples=int(cfg.resamples),
        seed=int(cfg.seed),
        predictions_are=str(cfg.predictions_are),
        threshold=float(cfg.threshold),
    )
    given = config_to_dict(cfg)["classes"]
    names = stated_classes(cfg.predictions) if given is None else read_names(given)
    rows, metrics, files = _classes(cfg, settings, names) if names else _objects(cfg, settings)
    if cfg.log_to_mlflow:
        from cytoloop.tracking.scores import record_scores

        record_scores(rows, metrics, files, str(cfg.truth))


def _objects(cfg: Any, settings: Settings) -> tuple[Any, Any, list[Path]]:
    """Return rows, numbers and files of an evaluation of foreground and objects."""
    from cytoloop.terminal import stdout_console

    evaluation = evaluate(cfg.predictions, cfg.truth, settings, cfg.annotator2)
    output = Path(cfg.output)
    files = write_tables(evaluation, output)
    charts = write_charts(evaluation, output / "figures")
    overlays = write_overlays(evaluation, output / "overlays", int(cfg.overlays))
    report = write_report(evaluation, output, charts, overlays)
    stdout_console.print(summary_table(evaluation))
    stdout_console.print(more_scores(evaluation))
    log.info("wrote %s and %d pictures", ", ".join(map(str, [*files, report])), len(overlays))
    return evaluation.rows, as_metrics(evaluation.summary), [*files, report, *charts, *overlays]


def _classes(cfg: Any, settings: Settings, names: Sequence[str]) -> tuple[Any, Any, list[Path]]:
    """Return rows, numbers and files of an evaluation of classes."""
    from cytoloop.terminal import stdout_console

    if cfg.annotator2 is not None:
        raise ConfigError(
            "annotator2",
            "is scored for objects, not for classes",
            "Evaluate the second annotation by itself: predictions=SECOND truth=... classes=[...].",
        )
    evaluation = evaluate_classes(cfg.predictions, cfg.truth, names, settings)
    output = Path(cfg.output)
    files = write_class_tables(evaluation, output)
    pictures = write_class_pictures(evaluation, output / "overlays", int(cfg.overlays))
    report = write_class_report(evaluation, output, pictures)
    stdout_console.print(class_table(evaluation))
    log.info("wrote %s and %d pictures", ", ".join(map(str, [*files, report])), len(pictures))
    return evaluation.rows, class_metrics(evaluation.summary), [*files, report, *pictures]
