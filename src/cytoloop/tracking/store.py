"""Where runs are kept: a SQLite file in the project folder, or a tracking server."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlparse

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from cytoloop.errors import ConfigError
from cytoloop.redact import has_password, redact_url
from cytoloop.terminal import quiet_libraries
from cytoloop.tracking.lock import state_folder

log = logging.getLogger(__name__)

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_PATIENCE = 120
"""Seconds to wait for another process that makes the tables of the same database."""


def tracking_uri(explicit: str | None = None) -> str:
    """Return the tracking URI: the given one, ``MLFLOW_TRACKING_URI``, else ``./mlflow.db``."""
    if explicit:
        return explicit
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return os.environ["MLFLOW_TRACKING_URI"]
    return f"sqlite:///{Path('mlflow.db').absolute().as_posix()}"


def read_tracking_uri(folder: Path) -> str | None:
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
        if scheme in ("postgresql", "mysql"):
            _reach(uri)
        with _alone(uri) if scheme in _DATABASES else nullcontext():
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    except ImportError as error:
        package = "'cytoloop[postgresql]'" if scheme == "postgresql" else str(error.name)
        raise ConfigError(
            f"MLflow store {redact_url(uri)}",
            f"{scheme} needs the package {error.name}",
            f"Install it: pip install {package}",
        ) from error
    except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
        text = str(error).strip()
        reason = (redact_url(text).splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(
            f"MLflow store {redact_url(uri)}",
            f"cannot be used: {reason}",
            "Start the server, or unset MLFLOW_TRACKING_URI to use ./mlflow.db."
            if scheme not in _DATABASES
            else "Check the path or the address, and the permissions.",
        ) from (error if redact_url(text) == text else None)  # its text may hold the password
    return client


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Let one process of a user at a time open a database.

    Whoever is first makes the tables: two that start together would both, and one would fail.
    Without a place for the lock, or after two minutes of waiting for it, it is done without.

    Parameters
    ----------
    uri : str
        Tracking URI of the database.
    """
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    with ExitStack() as held:
        try:
            state_folder().mkdir(parents=True, exist_ok=True)
            path = state_folder() / f"store-{name}.lock"
            held.enter_context(FileLock(path, timeout=_PATIENCE))
        except OSError as error:
            log.debug("the store is opened without a lock: %s", error)
        yield


def _reach(uri: str) -> None:
    """Connect to a database once: MLflow itself would go on trying for minutes."""
    from sqlalchemy import create_engine

    engine = create_engine(uri, connect_args={"connect_timeout": 20})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def check_no_password(uri: str | None) -> None:
    """Refuse a tracking URI with a password in a config: the run would keep it for all to read.

    Raises
    ------
    ConfigError
        It holds one.
    """
    if uri and has_password(str(uri)):
        raise ConfigError(
            f"logger.mlflow.tracking_uri={redact_url(str(uri))}",
            "holds a password, which would be written into configs and artifacts",
            "Set MLFLOW_TRACKING_URI to it, or keep the password in PGPASSWORD or ~/.pgpass.",
        )


def quiet_mlflow() -> None:
    """Keep MLflow from drawing bars, printing URLs, and copying the lock file of its folder."""
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_LOG_UV_FILES": "false"}
    quiet |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    quiet_libraries()


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, made if need be.

    Its artifacts lie beside a SQLite file; with another database in the folder of today's work.
    """
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
    if uri.startswith(_DATABASES):  # a server has a place of its own for them
        beside = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else "mlflow.db"
        location = (Path(beside).absolute().parent / "mlartifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))
