"""`cytoloop train`: a manifest in, a model and its MLflow run out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.redact import redact_url
from cytoloop.tracking.output_folder import forget_former, refuse_trained
from cytoloop.tracking.resume import LAST, note_finished

log = logging.getLogger(__name__)


def run(cfg: Any) -> float | None:
    """Check the data, train, and return the best score (for `--multirun` searches)."""
    from cytoloop.cli.app import StoppedError, plain
    from cytoloop.inference.postprocess import check_postprocess
    from cytoloop.training.prepare.bounds import check_knobs
    from cytoloop.training.prepare.classes import check_truth, settle_classes
    from cytoloop.training.prepare.dataset import preflight

    check_knobs(cfg)
    settle_classes(cfg)
    if problems := check_postprocess(plain(cfg.postprocess)):
        raise ConfigError("cytoloop train", problems, "See `cytoloop predict --help`.")
    output = Path(os.path.relpath(cfg.paths.output_dir))  # the sweep's folder in a sweep
    if not (cfg.resume or cfg.overwrite):
        refuse_trained(output)
    data = preflight(cfg.data.path, cfg.data.fold, cfg.data.get("replay_path"))
    check_truth(cfg, data[0])
    log.info("starting (%s)", ", ".join(f"{len(m)} {split}" for split, m in data[0].items()))

    from cytoloop.model.hardware import device_names
    from cytoloop.tracking.lock import training
    from cytoloop.tracking.registry import check_name
    from cytoloop.training.stopping import clean_stop

    if cfg.register:
        check_name(cfg.register)
    devices = device_names(str(cfg.trainer.accelerator), cfg.trainer.devices)
    try:
        with clean_stop(), training(output, devices, lock=bool(cfg.lock)) as name:
            scores, run_id = _train(cfg, data, output, name)
            note_finished(output, scores)
    except (KeyboardInterrupt, SystemExit) as stop:
        saved, again = (output / LAST).is_file(), f"go on with: cytoloop train resume={output}"
        text = again if saved else "no epoch was finished, nothing to resume"
        raise StoppedError(f"stopped; {text}") from stop
    best = scores[cfg.callbacks.best.monitor]
    log.info("best %s %.4f: %s", cfg.callbacks.best.monitor, best, output / "checkpoints/best.ckpt")
    log.info("next: cytoloop predict checkpoint=runs:/%s input=... output=preds/", run_id)
    return best


def _train(
    cfg: Any, data: tuple[Any, Any], output: Path, name: Callable[[str], None]
) -> tuple[dict[str, float], str]:
    """Plan, open the run, train, tune, register; return the final scores and the run's id."""
    from cytoloop.cli.app import plain
    from cytoloop.inference.pyfunc import served
    from cytoloop.model.hardware import describe_hardware
    from cytoloop.rounds.lineage import open_training, record_training
    from cytoloop.tracking.artifacts import artifact_of
    from cytoloop.tracking.checkpoints import locate_checkpoint
    from cytoloop.tracking.registry import register
    from cytoloop.tracking.run import ending
    from cytoloop.tracking.scores import next_number, record_evaluation
    from cytoloop.training.final_test import score_test
    from cytoloop.training.fit import fit
    from cytoloop.training.prepare.classes import store_of
    from cytoloop.training.prepare.complete import complete_config
    from cytoloop.training.prepare.dry_run import check_parts
    from cytoloop.training.prepare.plan.run import plan_run
    from cytoloop.training.tuning import evenly, tune

    best, rules = output / "checkpoints/best.ckpt", plain(cfg.postprocess)
    dataset, facts = data
    parent = locate_checkpoint(cfg.init_from) if cfg.init_from else None
    start = parent.path if parent else None
    plan = plan_run(cfg, dataset, facts, artifact_of, output, start)
    complete_config(cfg, facts, init_from=start)
    check_parts(cfg)
    tracked = open_training(cfg)
    if cfg.overwrite or cfg.resume:  # not before the store has answered: nothing is lost to a typo
        forget_former(output, resumed=bool(cfg.resume))
    name(tracked.run_id)
    cfg.logger.mlflow.run_id = tracked.run_id
    log.info("MLflow run %s (%s)", tracked.run_id, redact_url(str(tracked.client.tracking_uri)))
    evaluation = next_number(tracked)  # asked now: at the end the store may be away
    with ending(tracked, best.parent):
        record_training(tracked, cfg, dataset, parent, describe_hardware())
        tracked.files([plan] if plan else [])
        scores = {str(cfg.callbacks.best.monitor): fit(cfg)["best"]}
        if cfg.tune and best.is_file():
            entries = store_of(cfg).entries
            valid, known = (entries(evenly(dataset[split].rows)) for split in ("valid", "train"))
            tuned = tune(best, valid, rules, known)
            tracked.metrics({f"tuned/{name}": value for name, value in tuned.items()})
        if cfg.score_test and best.is_file():
            found, files = score_test(best, dataset, output, tracked.run_id, rules)
            if found:
                record_evaluation(tracked, evaluation, found, files, str(dataset["test"].path))
                scores |= {f"test/{name}": value for name, value in found.items()}
    if cfg.register:
        register(str(cfg.register), served(best), tracked.run_id)
    return scores, tracked.run_id
