"""Registration: a checkpoint becomes a version of a model, with its config and scores."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ModelError
from cytoloop.tracking.artifacts import fetch_artifact
from cytoloop.tracking.mlflow_model import ServedModel, to_json, write_mlflow_model
from cytoloop.tracking.output_folder import CONFIG_FILE
from cytoloop.tracking.registry import (
    SHA256_TAG,
    Version,
    check_model_name,
    list_versions,
    to_version,
)
from cytoloop.tracking.run import CHECKPOINTS, TrackedRun, open_run, start_run

log = logging.getLogger(__name__)

_ARTIFACT_FOLDER = "registered"
_IMPORT_EXPERIMENT = "cytoloop-imports"
_TAGS_OF_RUN = ("cytoloop.data_hash", "cytoloop.parent_run", "cytoloop.parent_model")


def register_model(name: str, model: ServedModel, run_id: str | None, origin: str = "") -> Version:
    """Register a checkpoint as a version of a model, and return the version.

    A checkpoint is registered once under a name: an existing version of it is returned.

    Parameters
    ----------
    name : str
        Name of the model.
    model : ServedModel
    run_id : str or None
        The run that made it; None creates a run that holds the checkpoint.
    origin : str
        Where a model without a run comes from.

    Raises
    ------
    ConfigError
        The name is not valid, or the store does not answer.
    ModelError
        The store has no such run.
    """
    check_model_name(name)
    versions = _versions_or_none(name)
    for version in versions or ():
        if version.sha256 == model.sha256:
            log.info("this model is registered already: %s", version.uri)
            return version
    run = open_run(run_id) if run_id else _create_import_run(name, model, origin)
    client, facts = run.client, run.client.get_run(run.run_id)
    tags = {SHA256_TAG: model.sha256, **{f"cytoloop.{k}": v for k, v in model.facts.items()}}
    tags |= {key: facts.data.tags[key] for key in _TAGS_OF_RUN if key in facts.data.tags}
    artifact_folder = f"{_ARTIFACT_FOLDER}/{model.sha256[:12]}"
    with tempfile.TemporaryDirectory(prefix="cytoloop-register-") as temporary:
        folder = Path(temporary) / "package"
        write_mlflow_model(model, folder, _extra_files(run, facts.data.metrics, tags))
        client.log_artifacts(run.run_id, str(folder), artifact_folder)
    if versions is None:
        client.create_registered_model(name)
    source = f"{facts.info.artifact_uri}/{artifact_folder}"
    created = client.create_model_version(name, source, run.run_id, tags=tags)
    version = to_version(client, created)
    log.info("registered %s", version.uri)
    return version


def _versions_or_none(name: str) -> list[Version] | None:
    """Return the versions of a model, None if there is no such model."""
    try:
        return list_versions(name)
    except ModelError:
        return None


def _extra_files(
    run: TrackedRun, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> dict[str, str]:
    """Return the files beside the checkpoint (name to text): scores, tags, and the config."""
    files = {"scores.json": to_json(dict(metrics)), "facts.json": to_json(dict(tags))}
    try:
        config = fetch_artifact(run.run_id, CONFIG_FILE, str(run.client.tracking_uri))
        files[CONFIG_FILE] = config.read_text(encoding="utf-8")
    except FileNotFoundError:
        log.debug(
            "run %s has no %s, for example because the model is imported", run.run_id, CONFIG_FILE
        )
    return files


def _create_import_run(name: str, model: ServedModel, origin: str) -> TrackedRun:
    """Return a new run that holds the checkpoint of an imported model."""
    run = start_run(_IMPORT_EXPERIMENT, f"import-{name}")
    run.tags({"cytoloop.task": "import", "cytoloop.parent_model": origin or None})
    run.files([model.path], CHECKPOINTS)
    run.end("FINISHED")
    return run
