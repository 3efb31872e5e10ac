"""One training with everything around it: MLflow run, tuning, final test, registration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.pyfunc import served_model
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.exporters import About, export_model
from cytoloop.model.hardware import describe_hardware
from cytoloop.redact import redact_url
from cytoloop.rounds.diagnosis_record import record_diagnosis
from cytoloop.rounds.training_record import record_training, start_training_run
from cytoloop.tracking.output_folder import clear_output_folder
from cytoloop.tracking.register_model import register_model
from cytoloop.tracking.run import TrackedRun, closing_run
from cytoloop.tracking.scores import next_evaluation_number, record_evaluation
from cytoloop.training.final_test import score_test
from cytoloop.training.fit import fit
from cytoloop.training.prepare.classes import image_cache_of
from cytoloop.training.prepare.config import value_of, with_values
from cytoloop.training.prepare.exports import export_formats
from cytoloop.training.prepare.own_parts import trusting_config
from cytoloop.training.prepare.plan.plan import PLAN
from cytoloop.training.prepare.steps import Prepared
from cytoloop.training.tuning import tune
from cytoloop.training.tuning_images import evenly

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Attributes
    ----------
    run_id : str
        Of the MLflow run.
    scores : dict of str to float
        The score that chose the best checkpoint, and ``test/...``.
    checkpoint : Path
        The best checkpoint.
    """

    run_id: str
    scores: dict[str, float]
    checkpoint: Path


def run_training(
    known: Prepared, output: Path, on_open: Callable[[str], None] = lambda run_id: None
) -> TrainingResult:
    """Train, tune, test and register a prepared training, recorded in an MLflow run.

    Parameters
    ----------
    known : Prepared
        After all steps of `cytoloop.training.prepare.steps`.
    output : Path
        The training's folder.
    on_open : callable
        Called with the run's id when the run is open.
    """
    with trusting_config(known.cfg):
        return _run_training(known, output, on_open)


def _run_training(known: Prepared, output: Path, on_open: Callable[[str], None]) -> TrainingResult:
    best = output / "checkpoints/best.ckpt"
    tracked = start_training_run(known.cfg)
    if known.cfg.overwrite or known.cfg.resume:  # only now: a typing mistake has lost nothing
        clear_output_folder(output, resumed=bool(known.cfg.resume))
    on_open(tracked.run_id)
    cfg = with_values(known.cfg, {"logger.mlflow.run_id": tracked.run_id})
    log.info("MLflow run %s (%s)", tracked.run_id, redact_url(str(tracked.client.tracking_uri)))
    number = next_evaluation_number(tracked)  # asked now, as the store may be away at the end
    with closing_run(tracked, best.parent):
        record_training(tracked, cfg, dict(known.dataset), known.parent, describe_hardware())
        tracked.files([output / PLAN] if known.plan.choices else [])
        monitor = str(cfg.callbacks.best.monitor)
        scores = {monitor: fit(cfg)["best"]}
        if best.is_file():
            scores |= _judge(known, cfg, tracked, best, number)
        rate = value_of(cfg, "model.optimizer.lr")
        if value_of(cfg, "callbacks.best.mode") == "min":
            monitor = "val/loss"
        record_diagnosis(tracked, output, monitor, rate, cfg, known.dataset)
    for form in export_formats(cfg) if best.is_file() else ():
        about = About(str(cfg.run_name or output.name), scores=scores)
        folder = output / "export" / form
        export_model(read_checkpoint(best), form, folder, about, overwrite=True)
        log.info("exported to %s", folder)
    if cfg.register:
        register_model(str(cfg.register), served_model(best), tracked.run_id)
    return TrainingResult(tracked.run_id, scores, best)


def _judge(
    known: Prepared, cfg: Any, tracked: TrackedRun, best: Path, number: int
) -> dict[str, float]:
    """Tune the post-processing of the best checkpoint and score the test images."""
    dataset = known.dataset
    postprocess = PostprocessSettings.from_config(value_of(cfg, "postprocess"))
    if cfg.tune:
        entries = image_cache_of(cfg).entries
        valid, train = (entries(evenly(dataset[split].rows)) for split in ("valid", "train"))
        tuned = tune(best, valid, postprocess, train)
        tracked.metrics({f"tuned/{name}": value for name, value in tuned.items()})
    if not cfg.score_test:
        return {}
    output = best.parents[1]
    found, files = score_test(
        best, dataset, output, tracked.run_id, postprocess, value_of(cfg, "data.planes")
    )
    if found:
        record_evaluation(tracked, number, found, files, str(dataset["test"].path))
    return {f"test/{name}": value for name, value in found.items()}
