"""The record of a training in its MLflow run: config, data, parent, software and hardware."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ManifestError
from cytoloop.manifest import Manifest, dataset_hash
from cytoloop.rounds.config_differences import flatten_config, log_differences
from cytoloop.tracking.checkpoints import LocatedCheckpoint
from cytoloop.tracking.output_folder import CONFIG_FILE, OVERRIDES_FILE, RUN_ID_FILE, read_run_id
from cytoloop.tracking.resume import add_training_folder
from cytoloop.tracking.run import SpooledRun, TrackedRun, start_run
from cytoloop.tracking.store import check_no_password
from cytoloop.tracking.sync import send_spooled

log = logging.getLogger(__name__)

_PACKAGES = ("cytoloop", "cyto-dl", "torch", "lightning", "monai", "mlflow", "bioio", "numpy")


def start_training_run(cfg: DictConfig) -> SpooledRun:
    """Start the run of a training, or reopen the run of the output folder that is resumed.

    The id of the run is written into the output folder: a checkpoint there belongs to this run.
    Spooled entries of an earlier training in this folder are sent first.

    Raises
    ------
    ConfigError
        The store does not answer, or the tracking URI in the config holds a password.
    ModelError
        The store does not have the run that is resumed.
    """
    output = Path(cfg.paths.output_dir)
    uri = cfg.logger.mlflow.tracking_uri
    check_no_password(uri)
    if output.is_dir():
        send_spooled(output, uri)
    resumed = read_run_id(output) if cfg.resume else None
    name = cfg.run_name or f"{Path(str(cfg.data.path)).absolute().name}-{output.absolute().name}"
    run = start_run(cfg.experiment_name, name, uri, resumed)
    output.mkdir(parents=True, exist_ok=True)
    (output / RUN_ID_FILE).write_text(run.run_id + "\n")
    add_training_folder(output, cfg.paths.runs_dir)
    return SpooledRun(run.client, run.run_id, Path(os.path.relpath(output)))


def record_training(
    run: TrackedRun,
    cfg: DictConfig,
    dataset: dict[str, Manifest],
    parent: LocatedCheckpoint | None,
    hardware: Mapping[str, str] | None = None,
) -> None:
    """Log config, data, parent, software and hardware of a training to its run.

    Parameters
    ----------
    run : TrackedRun
    cfg : DictConfig
        The completed config.
    dataset : dict of str to Manifest
        Split to manifest.
    parent : LocatedCheckpoint or None
        The checkpoint that the training starts from; None for a training from scratch.
    hardware : mapping of str to str, optional
        Name to text, for the tags ``hardware.NAME``.

    Raises
    ------
    ManifestError
        The training is resumed and its data set has changed.
    """
    digest = dataset_hash(dataset)
    known = run.client.get_run(run.run_id).data.tags
    if known.get("cytoloop.data_hash", digest) != digest:
        raise ManifestError(
            str(dataset["train"].path),
            "the data set has changed since this run started, so the run cannot be resumed",
            "Start a new run with init_from=FOLDER, or restore the data set.",
        )
    if cfg.rerun and not cfg.resume:
        log_differences(str(cfg.rerun), cfg)
    output = Path(cfg.paths.output_dir)
    run.params(dict(flatten_config(OmegaConf.to_container(cfg, resolve=True))))
    run.text(OmegaConf.to_yaml(cfg, resolve=True), CONFIG_FILE)
    run.files([output / ".hydra" / OVERRIDES_FILE])
    name = Path(str(cfg.data.path)).absolute().name
    run.tags(
        {
            "cytoloop.output": str(output.absolute()),
            "cytoloop.task": cfg.get("task") or f"segmentation_{cfg.spatial_dims}d",
            "cytoloop.data_set": name,
            "cytoloop.data_hash": digest,
            "cytoloop.git_commit": git_commit(),
            "cytoloop.python": sys.version.split()[0],
            "cytoloop.machine": platform.platform(),
            **{f"version.{name}": _version(name) for name in _PACKAGES},
            **{f"hardware.{name}": value for name, value in (hardware or {}).items()},
        }
    )
    if "cytoloop.round" not in known:
        run.tags(_parent_tags(run, parent))
    path = str(dataset["train"].path)
    counts = {split: len(manifest) for split, manifest in dataset.items()}
    source = str(Path(str(cfg.data.path)).absolute())
    run.dataset(name, digest[:36], source, json.dumps(counts))
    run.files(dict.fromkeys([*(str(m.path) for m in dataset.values()), path]), "data")


def _parent_tags(run: TrackedRun, parent: LocatedCheckpoint | None) -> dict[str, Any]:
    """Return the tags of the parent and of the round, which is 0 for a model from scratch."""
    if parent is None:
        return {"cytoloop.round": 0}
    tags: dict[str, Any] = {"cytoloop.parent_model": parent.uri}
    if parent.run_id is None:
        return {**tags, "cytoloop.round": 1}
    try:
        parent_run = run.client.get_run(parent.run_id)
    except MlflowException:  # in another store; the checkpoint was given as a file
        return {**tags, "cytoloop.parent_run": parent.run_id, "cytoloop.round": 1}
    number = parent_run.data.tags.get("cytoloop.round", "0")
    link = f"#/experiments/{parent_run.info.experiment_id}/runs/{parent.run_id}"
    return {
        **tags,
        "cytoloop.parent_run": parent.run_id,
        "cytoloop.parent_data_hash": parent_run.data.tags.get("cytoloop.data_hash"),
        "cytoloop.round": int(number) + 1 if number.isdigit() else 1,
        "mlflow.note.content": f"Starts from [{parent_run.info.run_name}]({link})",
    }


def git_commit() -> str | None:
    """Return the git commit of the current folder, None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
