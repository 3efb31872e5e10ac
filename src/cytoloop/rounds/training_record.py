"""The record of a training in its MLflow run: config, data, parent, software and hardware."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
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
from cytoloop.tracking.run import SpooledRun, TrackedRun, last_logged_steps, start_run
from cytoloop.tracking.store import check_no_password
from cytoloop.tracking.study_store import study_folder
from cytoloop.tracking.sync import send_spooled

log = logging.getLogger(__name__)

_PACKAGES = ("cytoloop", "cyto-dl", "torch", "lightning", "monai", "mlflow", "bioio", "numpy")


@dataclass(frozen=True)
class DataRecord:
    """What a run records of its data set.

    Attributes
    ----------
    name : str
    digest : str
        SHA-256 of the rows and their files.
    source : str
        Where the rows were read, for messages.
    location : str
        Absolute path of the data set.
    counts : dict of str to int
        Split to number of rows.
    files : tuple of Path
        Tables that are stored with the run.
    """

    name: str
    digest: str
    source: str
    location: str
    counts: dict[str, int]
    files: tuple[Path, ...]


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
    name = cfg.run_name or f"{Path(str(cfg.data.path)).absolute().name}-{output.absolute().name}"
    return open_training_run(cfg, output, name, cfg.logger.mlflow.tracking_uri)


def open_training_run(cfg: DictConfig, output: Path, name: str, uri: str | None) -> SpooledRun:
    """Start or reopen the run of a training; see `start_training_run`.

    Parameters
    ----------
    cfg : DictConfig
        Its ``resume``, ``experiment_name`` and ``paths.runs_dir`` are used.
    output : Path
        Output folder of the training.
    name : str
        Name of a new run.
    uri : str or None
        Tracking URI.
    """
    check_no_password(uri)
    if output.is_dir() and study_folder() is None:  # a study has sent them
        send_spooled(output, uri)
    resumed = read_run_id(output) if cfg.resume else None
    run = start_run(cfg.experiment_name, name, uri, resumed)
    output.mkdir(parents=True, exist_ok=True)
    (output / RUN_ID_FILE).write_text(run.run_id + "\n")
    add_training_folder(output, cfg.paths.runs_dir)
    known = last_logged_steps(run) if resumed else {}
    return SpooledRun(run.client, run.run_id, Path(os.path.relpath(output)), known)


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
    path = Path(str(cfg.data.path)).absolute()
    train = str(dataset["train"].path)
    tables = dict.fromkeys([*(str(m.path) for m in dataset.values()), train])
    data = DataRecord(
        name=path.name,
        digest=dataset_hash(dataset),
        source=train,
        location=str(path),
        counts={split: len(manifest) for split, manifest in dataset.items()},
        files=tuple(map(Path, tables)),
    )
    task = cfg.get("task") or f"segmentation_{cfg.spatial_dims}d"
    record_run(run, cfg, data, parent, task, hardware)


def record_run(
    run: TrackedRun,
    cfg: DictConfig,
    data: DataRecord,
    parent: LocatedCheckpoint | None,
    task: str,
    hardware: Mapping[str, str] | None = None,
) -> None:
    """Log config, data, parent, software and hardware to a run; see `record_training`.

    Parameters
    ----------
    task : str
        The tag ``cytoloop.task``.
    """
    known = run.client.get_run(run.run_id).data.tags
    if known.get("cytoloop.data_hash", data.digest) != data.digest:
        raise ManifestError(
            data.source,
            "the data set has changed since this run started, so the run cannot be resumed",
            "Start a new run with init_from=FOLDER, or restore the data set.",
        )
    if cfg.rerun and not cfg.resume:
        log_differences(str(cfg.rerun), cfg)
    output = Path(cfg.paths.output_dir)
    run.params(dict(flatten_config(OmegaConf.to_container(cfg, resolve=True))))
    run.text(OmegaConf.to_yaml(cfg, resolve=True), CONFIG_FILE)
    run.files([output / ".hydra" / OVERRIDES_FILE])
    run.tags(
        {
            "cytoloop.output": str(output.absolute()),
            "cytoloop.task": task,
            "cytoloop.data_set": data.name,
            "cytoloop.data_hash": data.digest,
            "cytoloop.git_commit": git_commit(),
            "cytoloop.python": sys.version.split()[0],
            "cytoloop.machine": platform.platform(),
            **{f"version.{name}": _version(name) for name in _PACKAGES},
            **{f"hardware.{name}": value for name, value in (hardware or {}).items()},
        }
    )
    if "cytoloop.round" not in known:
        run.tags(_parent_tags(run, parent))
    run.dataset(data.name, data.digest[:36], data.location, json.dumps(data.counts))
    run.files(data.files, "data")


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
