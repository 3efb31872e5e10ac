"""`cytoloop train`: a manifest in, a model and its MLflow run out."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from cytoloop.errors import OutputError

log = logging.getLogger(__name__)

_BUDGET = ("trainer.max_epochs", "trainer.max_steps", "budget_minutes")


def run(cfg: Any) -> float | None:
    """Check the data, train, and return the best score (for `--multirun` searches)."""
    from cytoloop.data.preflight import preflight
    from cytoloop.planning.knobs import check_knobs

    check_knobs(cfg)
    output = Path(os.path.relpath(cfg.paths.output_dir))  # the sweep's folder in a sweep
    checkpoints = output / "checkpoints"
    if (checkpoints / "last.ckpt").is_file() and not (cfg.resume or cfg.overwrite):
        raise OutputError(
            str(output),
            "the folder holds a trained model",
            "Take another output=, go on with resume=FOLDER, or replace it with overwrite=true.",
        )
    dataset, facts = preflight(cfg.data.path, cfg.data.fold)
    log.info("starting (%s)", ", ".join(f"{len(m)} {split}" for split, m in dataset.items()))

    from cytoloop.app import StoppedError, plain
    from cytoloop.data.store import ImageStore
    from cytoloop.inference.pyfunc import served
    from cytoloop.model.fit import complete_config, fit
    from cytoloop.planning.run import plan_run
    from cytoloop.tracking.checkpoints import locate_checkpoint
    from cytoloop.tracking.lineage import open_training, record_training
    from cytoloop.tracking.registry import check_name, register
    from cytoloop.tracking.resume import FINISHED
    from cytoloop.tracking.run import ending
    from cytoloop.tuning import tune

    name = check_name(cfg.register) if cfg.register else None
    parent = locate_checkpoint(cfg.init_from) if cfg.init_from else None
    plan_run(cfg, dataset, facts, output, parent.path if parent else None)
    if cfg.overwrite and not cfg.resume:  # the new run must not inherit the old one's model
        shutil.rmtree(checkpoints, ignore_errors=True)
        for file in (FINISHED, "progress.jsonl"):
            (output / file).unlink(missing_ok=True)
    complete_config(cfg, facts, init_from=parent.path if parent else None)
    tracked = open_training(cfg)
    cfg.logger.mlflow.run_id = tracked.run_id
    log.info("MLflow run %s (%s)", tracked.run_id, tracked.client.tracking_uri)
    try:
        with ending(tracked, checkpoints):
            record_training(tracked, cfg, dataset, parent)
            scores = fit(cfg)
            if cfg.tune and (checkpoints / "best.ckpt").is_file():
                entries = ImageStore(cfg.data.store_dir).entries(list(dataset["valid"]))
                tuned = tune(checkpoints / "best.ckpt", entries, plain(cfg.postprocess))
                tracked.metrics({f"tuned/{name}": value for name, value in tuned.items()})
    except (KeyboardInterrupt, SystemExit) as stop:
        again = f"cytoloop train resume={output}"
        saved = (checkpoints / "last.ckpt").is_file()
        text = f"go on with: {again}" if saved else "no epoch was finished, nothing to resume"
        raise StoppedError(f"stopped; {text}") from stop
    (output / FINISHED).touch()
    if name:
        register(name, served(checkpoints / "best.ckpt"), tracked.run_id)
    best = scores["best"]
    log.info("best %s %.4f: %s", cfg.callbacks.best.monitor, best, checkpoints / "best.ckpt")
    log.info("next: cytoloop predict model=runs:/%s input=... output=preds/", tracked.run_id)
    return best
