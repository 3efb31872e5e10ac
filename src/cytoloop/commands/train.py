"""`cytoloop train`: a manifest in, a model and its MLflow run out."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError, OutputError
from cytoloop.overrides import is_override, quote
from cytoloop.remote import shown

log = logging.getLogger(__name__)

_MAY_CHANGE = ("resume", "output", "trainer.max_epochs", "budget_minutes", "data.num_workers")


def expand_resume(words: list[str]) -> list[str]:
    """Return the overrides of the run that goes on, where ``resume=`` asks for one.

    Raises
    ------
    ModelError
        No such run.
    ConfigError
        An override that differs from that run's: it would not be the same run.
    """
    given = {word.partition("=")[0]: word for word in words if is_override(word)}
    which = given.get("resume", "=false").partition("=")[2].strip("'\"")
    if which.lower() in ("false", "null", ""):
        return words
    from omegaconf import OmegaConf

    from cytoloop.tracking.resume import find_resumable

    runs_dir = given.get("paths.runs_dir", "=runs").partition("=")[2]
    folder = find_resumable(which, runs_dir)
    stored = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
    former = {str(word).partition("=")[0]: str(word) for word in stored}
    if problems := [
        f"{word} now, {former.get(key, 'the default')} when the run was started"
        for key, word in sorted(given.items())
        if key not in _MAY_CHANGE and former.get(key) != word
    ]:
        raise ConfigError(
            "resume", problems, "Leave these out, or start a new run with init_from=FOLDER."
        )
    place = {key: f"{key}={quote(str(folder))}" for key in ("resume", "output")}
    flags = [word for word in words if not is_override(word)]
    return [*(former | given | place).values(), *flags]


def run(cfg: Any) -> float | None:
    """Check the data, train, and return the best score (for `--multirun` searches)."""
    from cytoloop.data.preflight import preflight

    # the sweep's folder in a sweep, else output=
    output = Path(os.path.relpath(cfg.paths.output_dir))
    checkpoints = output / "checkpoints"
    if (checkpoints / "last.ckpt").is_file() and not (cfg.resume or cfg.overwrite):
        raise OutputError(
            str(output),
            "the folder holds a trained model",
            "Take another output=, go on with resume=FOLDER, or replace it with overwrite=true.",
        )
    strides = cfg.model.get("backbone", {}).get("strides") or []
    dataset, facts = preflight(cfg.data.path, list(cfg.data.patch_size), strides, cfg.data.fold)
    log.info("starting (%s)", ", ".join(f"{len(m)} {split}" for split, m in dataset.items()))

    from cytoloop.app import StoppedError, plain
    from cytoloop.data.store import ImageStore
    from cytoloop.model.fit import complete_config, fit
    from cytoloop.tracking.checkpoints import locate_checkpoint
    from cytoloop.tracking.lineage import open_training, record_training
    from cytoloop.tracking.resume import FINISHED
    from cytoloop.tracking.run import ending
    from cytoloop.tuning import tune

    if cfg.overwrite and not cfg.resume:  # the new run must not inherit the old one's model
        shutil.rmtree(checkpoints, ignore_errors=True)
        for name in (FINISHED, "progress.jsonl"):
            (output / name).unlink(missing_ok=True)
    parent = locate_checkpoint(cfg.init_from) if cfg.init_from else None
    complete_config(cfg, facts, init_from=parent.path if parent else None)
    tracked = open_training(cfg)
    cfg.logger.mlflow.run_id = tracked.run_id
    log.info("MLflow run %s (%s)", tracked.run_id, shown(str(tracked.client.tracking_uri)))
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
    best = scores["best"]
    log.info("best %s %.4f: %s", cfg.callbacks.best.monitor, best, checkpoints / "best.ckpt")
    log.info("next: cytoloop predict model=runs:/%s input=... output=preds/", tracked.run_id)
    return best
