"""Where runs are kept: a SQLite file in the project folder, or a tracking server."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cytoloop.errors import ConfigError
from cytoloop.remote import shown
from cytoloop.terminal import quiet_libraries

_LOCAL = ("sqlite", "postgresql", "mysql", "mssql")


def tracking_uri(explicit: str | None = None) -> str:
    """Return the tracking URI: the given one, ``MLFLOW_TRACKING_URI``, else ``./mlflow.db``."""
    if explicit:
        return explicit
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return os.environ["MLFLOW_TRACKING_URI"]
    return f"sqlite:///{Path('mlflow.db').absolute().as_posix()}"


def uri_of_folder(folder: Path) -> str | None:
    """Return the tracking URI that a training's own config names, None where it names none."""
    import yaml

    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        uri = config["logger"]["mlflow"]["tracking_uri"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        return None
    return str(uri) if uri else None


def connect(explicit: str | None = None) -> MlflowClient:
    """Return a client that has been seen to answer.

    Parameters
    ----------
    explicit : str, optional
        Tracking URI, default see `tracking_uri`.

    Raises
    ------
    ConfigError
        A store that MLflow refuses, or a server that does not answer.
    """
    uri = tracking_uri(explicit)
    scheme = urlparse(uri).scheme.split("+")[0]
    # a server that is not there should be told at once, not after MLflow's minutes of retries
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    for name, value in patience.items():
        os.environ.setdefault(name, value)
    quiet_mlflow()
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(
            f"MLflow store {shown(uri)}",
            f"cannot be used: {reason}",
            "Start the server, or unset MLFLOW_TRACKING_URI to use ./mlflow.db."
            if scheme not in _LOCAL
            else "Check the path and its permissions.",
        ) from error
    return client


def quiet_mlflow() -> None:
    """Keep MLflow from drawing bars, printing URLs, and copying the lock file of its folder."""
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_LOG_UV_FILES": "false"}
    quiet |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    quiet_libraries()


def experiment_id(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, made if need be, with its artifacts beside a SQLite file."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise ConfigError(
            "experiment_name",
            f"the MLflow experiment {name!r} was deleted",
            f"Restore it (`mlflow experiments restore -x {found.experiment_id}`) or name another.",
        )
    if found is not None:
        return str(found.experiment_id)
    location = None
    uri = str(client.tracking_uri)
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts"
        location = folder.as_uri()
    return str(client.create_experiment(name, artifact_location=location))
