"""`cytoloop evaluate`: scores predictions against truth; writes tables, figures and a report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.evaluation import (
    Evaluation,
    EvaluationSettings,
    evaluate,
    remove_evaluation,
    run_metrics,
    stated_classes,
    terminal_tables,
    write_evaluation,
)
from cytoloop.manifest import table_in
from cytoloop.truth.classes import parse_class_names
from cytoloop.workers.engine import Engine

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Score, write, print, and add the scores to the run that made the model."""
    evaluate_predictions(cfg, print_scores=True)


def evaluate_predictions(cfg: Any, print_scores: bool = False) -> Evaluation:
    """Score, write, and add the scores to the run that made the model; return the scores."""
    from cytoloop.cli.app import config_to_dict
    from cytoloop.terminal import stdout_console

    config = config_to_dict(cfg)
    settings = EvaluationSettings.from_config(config)
    given = config["classes"]
    predictions = table_in(cfg.predictions)
    classes = stated_classes(predictions) if given is None else parse_class_names(given)
    engine = Engine.from_config(config)
    evaluation = evaluate(predictions, cfg.truth, settings, cfg.annotator2, classes, engine)
    output = Path(cfg.output)
    if settings.overwrite:
        remove_evaluation(output)
    files = write_evaluation(evaluation, output, settings.overlays)
    if print_scores:
        stdout_console.print(terminal_tables(evaluation))
    pages = [str(file) for file in files if file.suffix != ".png"]
    log.info("wrote %s and %d figures", ", ".join(pages), len(files) - len(pages))
    if cfg.log_to_mlflow:
        from cytoloop.tracking.scores import record_scores

        record_scores(evaluation.rows, run_metrics(evaluation.summary), files, str(cfg.truth))
    return evaluation
