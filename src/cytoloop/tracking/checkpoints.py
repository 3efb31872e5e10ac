"""Checkpoints by URI: a path, ``runs:/ID``, ``runs:/ID/last`` or ``models:/NAME/VERSION``."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cytoloop.errors import ModelError
from cytoloop.tracking.run import CHECKPOINTS, open_run
from cytoloop.tracking.store import connect

_RUN = re.compile(r"runs:/(?P<id>[0-9a-f]{32})(?:/(?P<which>best|last))?/?")


@dataclass(frozen=True)
class LocatedCheckpoint:
    """A checkpoint on this machine.

    Attributes
    ----------
    uri : str
        As given.
    path : Path
    run_id : str or None
        The run that made it, where known.
    """

    uri: str
    path: Path
    run_id: str | None


def locate_checkpoint(uri: str, tracking_uri: str | None = None) -> LocatedCheckpoint:
    """Return the local file of a checkpoint, downloading it if need be.

    Parameters
    ----------
    uri : str
        A path (of a file, or of a run's folder), ``runs:/ID`` (its best), ``runs:/ID/best``,
        ``runs:/ID/last`` or ``models:/NAME/VERSION``, ``models:/NAME@ALIAS``. A folder of
        CytoDL's, Segmenter ML's or the Segmentation module's is located as it is: which of its
        files is the best is in these files (`cytoloop.model.checkpoint.read_checkpoint`).

    Raises
    ------
    ModelError
        Nothing is there.
    """
    uri = str(uri).strip()
    if uri.startswith("runs:"):
        match = _RUN.fullmatch(uri)
        if match is None:
            raise ModelError(uri, "is no run URI", "Expected runs:/ID or runs:/ID/last (32 hex).")
        which = match["which"] or "best"
        path = _from_run(uri, match["id"], f"{CHECKPOINTS}/{which}.ckpt", tracking_uri)
        return LocatedCheckpoint(uri, path, match["id"])
    if uri.startswith("models:"):
        return _from_registry(uri, tracking_uri)
    path = Path(uri).expanduser()
    if path.is_dir():
        found = [p for p in (path / "best.ckpt", path / CHECKPOINTS / "best.ckpt") if p.is_file()]
        if not found and not _is_foreign(path):
            raise ModelError(
                uri,
                f"the folder holds no best.ckpt, no {CHECKPOINTS}/*.ckpt and no best_model.pth",
                "Give the folder of one training, or the file itself.",
            )
        if not found:
            return LocatedCheckpoint(uri, path, None)
        path = found[0]
    if not path.is_file():
        raise ModelError(uri, "no such checkpoint", "Give a .ckpt file, runs:/ID or models:/NAME.")
    return LocatedCheckpoint(uri, path, read_run_id(path))


def _is_foreign(folder: Path) -> bool:
    """Tell whether a folder is that of a training by CytoDL, Segmenter ML or a module like them."""
    if (folder / "run_id").is_file():  # ours, stopped before its first validation
        return False
    return (folder / "best_model.pth").is_file() or any((folder / CHECKPOINTS).glob("*.ckpt"))


def read_run_id(path: Path) -> str | None:
    """Return the run that a training folder belongs to: training leaves ``run_id`` beside it."""
    for folder in (path.parent, path.parent.parent):
        note = folder / "run_id"
        if note.is_file():
            text = note.read_text().strip()
            return text if re.fullmatch(r"[0-9a-f]{32}", text) else None
    return None


def fetch_artifact(run_id: str, artifact: str, tracking_uri: str | None = None) -> Path:
    """Return a file of a run as a local one; where the store is on this machine, the file itself.

    Raises
    ------
    ModelError
        No such run.
    FileNotFoundError
        The run has no such file.
    """
    client = open_run(run_id, tracking_uri).client
    if str(client.tracking_uri).startswith("sqlite"):  # artifacts are files here: no copy
        folder = client.get_run(run_id).info.artifact_uri
        if folder.startswith("file://"):
            path = Path(_file_path(folder)) / artifact
            if path.is_file():
                return path
    try:
        target = tempfile.mkdtemp(prefix="cytoloop-artifact-")
        atexit.register(shutil.rmtree, target, ignore_errors=True)
        return Path(client.download_artifacts(run_id, artifact, target))
    except (MlflowException, OSError) as error:
        raise FileNotFoundError(artifact) from error


def _from_run(uri: str, run_id: str, artifact: str, tracking_uri: str | None) -> Path:
    try:
        return fetch_artifact(run_id, artifact, tracking_uri)
    except FileNotFoundError as error:
        raise ModelError(
            uri,
            f"the run has no {artifact}",
            "It may have stopped before its first validation; try runs:/ID/last.",
        ) from error


def _from_registry(uri: str, tracking_uri: str | None) -> LocatedCheckpoint:
    client = connect(tracking_uri)
    match = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w-]+))", uri)
    if match is None:
        raise ModelError(uri, "is no model URI", "Expected models:/NAME/VERSION or @ALIAS.")
    try:
        version = _version(client, match)
        folder = Path(download_artifacts(version.source, tracking_uri=client.tracking_uri))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:160]
        raise ModelError(uri, f"not in the registry: {reason}", "See `cytoloop ui`.") from error
    files = [folder] if folder.is_file() else sorted(folder.rglob("best.ckpt"))
    if not files:
        raise ModelError(uri, "the version holds no best.ckpt", "Register it again.")
    return LocatedCheckpoint(uri, files[0], version.run_id or None)


def _version(client: MlflowClient, match: re.Match[str]) -> ModelVersion:
    if match["alias"]:
        return client.get_model_version_by_alias(match["name"], match["alias"])
    return client.get_model_version(match["name"], match["version"])


def _file_path(uri: str) -> str:
    from urllib.parse import unquote, urlparse
    from urllib.request import url2pathname

    return url2pathname(unquote(urlparse(uri).path))
