"""Checkpoints by URI: a path, ``runs:/ID``, ``models:/NAME/VERSION`` or ``pretrained:NAME``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cytoloop.errors import ModelError
from cytoloop.home import expand_home
from cytoloop.pretrained.shipped import find_shipped, is_shipped
from cytoloop.tracking.artifacts import fetch_artifact
from cytoloop.tracking.output_folder import RUN_ID, RUN_ID_FILE, read_run_id
from cytoloop.tracking.run import CHECKPOINTS
from cytoloop.tracking.store import connect

_OTHER_MODELS = (
    *("best_model.pth", f"{CHECKPOINTS}/*.ckpt"),
    *("rdf.y*ml", "bioimageio.y*ml", "model.y*ml", "*.bioimageio.y*ml", "*.rdf.yaml"),
    "*.bioimageio.zip",
)
"""Files of which one lies in the folder of another tool's model."""
_RUN_URI = re.compile(rf"runs:/(?P<id>{RUN_ID})(?:/(?P<which>best|last))?/?")
_VERSION_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w-]+))")


@dataclass(frozen=True)
class LocatedCheckpoint:
    """A checkpoint on this machine.

    Attributes
    ----------
    uri : str
        As given.
    path : Path
        The file; the folder if another tool made it.
    run_id : str or None
        The run that made it, None if that is unknown.
    """

    uri: str
    path: Path
    run_id: str | None


def locate_checkpoint(uri: str, tracking_uri: str | None = None) -> LocatedCheckpoint:
    """Return the local file of a checkpoint; it is downloaded if it is elsewhere.

    Parameters
    ----------
    uri : str
        One of

        - the path of a file or of a training's output folder,
        - ``runs:/ID`` or ``runs:/ID/best`` (the run's best checkpoint), ``runs:/ID/last``,
        - ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``,
        - ``pretrained:NAME``, a model that ships with the package,
        - a folder of CytoDL, Segmenter ML or the Segmentation module, or a package of the BioImage
          Model Zoo (zip, folder or description). The path itself is returned:
          `cytoloop.model.checkpoint.read_checkpoint` finds the best file in it.
    tracking_uri : str, optional
        Default: see `cytoloop.tracking.store.tracking_uri`.

    Raises
    ------
    ModelError
        There is no such checkpoint.
    """
    uri = str(uri).strip()
    if uri.startswith("runs:"):
        return _locate_in_run(uri, tracking_uri)
    if uri.startswith("models:"):
        return _locate_in_registry(uri, tracking_uri)
    if is_shipped(uri):
        return LocatedCheckpoint(uri, find_shipped(uri), None)
    return _locate_on_disk(uri)


def _locate_on_disk(uri: str) -> LocatedCheckpoint:
    path = expand_home(uri)
    if path.is_dir():
        best = [p for p in (path / "best.ckpt", path / CHECKPOINTS / "best.ckpt") if p.is_file()]
        if not best and _is_from_other_tool(path):
            return LocatedCheckpoint(uri, path, None)
        if not best:
            raise ModelError(
                uri,
                f"the folder has no best.ckpt, no {CHECKPOINTS}/*.ckpt, no best_model.pth and no "
                "rdf.yaml",
                "Give the output folder of one training, or the checkpoint file itself.",
            )
        path = best[0]
    if not path.is_file():
        raise ModelError(
            uri,
            "no such checkpoint",
            "Give a .ckpt file, runs:/ID, models:/NAME or pretrained:NAME.",
        )
    run_id = read_run_id(path.parent) or read_run_id(path.parent.parent)
    return LocatedCheckpoint(uri, path, run_id)


def _is_from_other_tool(folder: Path) -> bool:
    """Return whether a folder holds the model of another tool."""
    if (folder / RUN_ID_FILE).is_file():  # ours, stopped before its first validation
        return False
    return any(any(folder.glob(pattern)) for pattern in _OTHER_MODELS)


def _locate_in_run(uri: str, tracking_uri: str | None) -> LocatedCheckpoint:
    match = _RUN_URI.fullmatch(uri)
    if match is None:
        raise ModelError(
            uri, "not a run URI", "Expected runs:/ID or runs:/ID/last with an ID of 32 hex digits."
        )
    name = f"{CHECKPOINTS}/{match['which'] or 'best'}.ckpt"
    try:
        return LocatedCheckpoint(uri, fetch_artifact(match["id"], name, tracking_uri), match["id"])
    except FileNotFoundError as error:
        raise ModelError(
            uri,
            f"the run has no {name}",
            "If it stopped before its first validation, try runs:/ID/last.",
        ) from error


def _locate_in_registry(uri: str, tracking_uri: str | None) -> LocatedCheckpoint:
    match = _VERSION_URI.fullmatch(uri)
    if match is None:
        raise ModelError(uri, "not a model URI", "Expected models:/NAME/VERSION or @ALIAS.")
    client = connect(tracking_uri)
    try:
        version = _get_version(client, match)
        folder = Path(download_artifacts(version.source, tracking_uri=client.tracking_uri))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:160]
        raise ModelError(
            uri, f"not in the registry: {reason}", "See `cytoloop models list`."
        ) from error
    files = [folder] if folder.is_file() else sorted(folder.rglob("best.ckpt"))
    if not files:
        raise ModelError(
            uri, "the version has no best.ckpt", "Register it: `cytoloop models register`."
        )
    return LocatedCheckpoint(uri, files[0], version.run_id or None)


def _get_version(client: MlflowClient, match: re.Match[str]) -> ModelVersion:
    if match["alias"]:
        return client.get_model_version_by_alias(match["name"], match["alias"])
    return client.get_model_version(match["name"], match["version"])
