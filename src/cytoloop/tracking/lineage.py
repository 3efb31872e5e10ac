"""What a run must tell a year later: its config, its data, its parent, its software."""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from omegaconf import DictConfig, OmegaConf

from cytoloop.digest import dataset_hash
from cytoloop.errors import ManifestError
from cytoloop.manifest import Manifest
from cytoloop.tracking.checkpoints import Located, run_of_file
from cytoloop.tracking.resume import note_training
from cytoloop.tracking.run import TrackedRun, start_run

log = logging.getLogger(__name__)

_PACKAGES = ("cytoloop", "cyto-dl", "torch", "lightning", "monai", "mlflow", "bioio", "numpy")


def open_training(cfg: DictConfig) -> TrackedRun:
    """Start the run of a training, or take up the one of the folder that is resumed.

    The run's id is left in the output folder, so that a checkpoint there finds its run.
    """
    output = Path(cfg.paths.output_dir)
    note = output / "run_id"
    former = run_of_file(note.with_name("last.ckpt")) if cfg.resume else None
    name = cfg.run_name or f"{Path(str(cfg.data.path)).absolute().name}-{output.absolute().name}"
    run = start_run(cfg.experiment_name, name, cfg.logger.mlflow.tracking_uri, former)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(run.run_id + "\n")
    note_training(output, cfg.paths.runs_dir)
    return run


def record_training(
    run: TrackedRun, cfg: DictConfig, dataset: dict[str, Manifest], parent: Located | None
) -> None:
    """Write down config, data, parent and software of a training."""
    digest = dataset_hash(dataset)
    former = run.client.get_run(run.run_id).data.tags.get("cytoloop.data_hash", digest)
    if former != digest:
        raise ManifestError(
            str(dataset["train"].path),
            "the data set has changed since this run was started: it cannot go on exactly",
            "Start a new run with init_from=FOLDER, or restore the data.",
        )
    container = OmegaConf.to_container(cfg, resolve=True)
    run.params(dict(flatten(container)))
    run.text(OmegaConf.to_yaml(cfg, resolve=True), "config.yaml")
    run.tags(
        {
            "cytoloop.output": str(Path(cfg.paths.output_dir).absolute()),
            "cytoloop.data_hash": digest,
            "cytoloop.parent_run": parent.run_id if parent else None,
            "cytoloop.parent_model": parent.uri if parent else None,
            "cytoloop.git_commit": git_commit(),
            "cytoloop.python": sys.version.split()[0],
            "cytoloop.machine": platform.platform(),
            **{f"version.{name}": _version(name) for name in _PACKAGES},
        }
    )
    path = str(dataset["train"].path)
    counts = {split: len(manifest) for split, manifest in dataset.items()}
    entry = Dataset(
        name=Path(str(cfg.data.path)).absolute().name,
        digest=digest[:36],
        source_type="local",
        source=str(Path(str(cfg.data.path)).absolute()),
        profile=str(counts).replace("'", '"'),
    )
    context = InputTag("mlflow.data.context", "training")
    run.client.log_inputs(run.run_id, [DatasetInput(entry, [context])])
    run.files({str(m.path) for m in dataset.values()} | {path}, "data")


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) pairs of a nested config; lists stay whole."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def git_commit() -> str | None:
    """Return the commit of the folder that the verb was started in, None outside a repository."""
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
