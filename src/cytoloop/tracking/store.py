"""The MLflow store: a SQLite file in the project folder, another database, or a server."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.parse import urlparse

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from cytoloop.errors import ConfigError
from cytoloop.io.atomic import replacing
from cytoloop.redact import has_password, redact_url
from cytoloop.terminal import quiet_libraries
from cytoloop.tracking.lock import state_folder
from cytoloop.tracking.output_folder import CONFIG_FILE

log = logging.getLogger(__name__)

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_LOCK_TIMEOUT = 120
"""Seconds to wait for another process that creates the tables of the same database."""
_WORKFLOW = "workflowType=machine_learning"
"""The parameter by which MLflow's web pages show training instead of language models."""
_VIEW = "cytoloop"
_VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
_VIEW_COLUMNS = (
    *("attributes.`Created`", "attributes.`Duration`", "tags.`cytoloop.round`"),
    *("metrics.`val/pq`", "metrics.`val/dice`", "metrics.`test/dice`", "metrics.`test/f1_50`"),
)
_VIEW_STATE = {
    "selectedColumns": list(_VIEW_COLUMNS),
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "searchFilter": "",
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
}
"""A view of the list of runs with useful columns, as MLflow's *Share* button saves it."""
_KIND, _KIND_OF_TRAININGS = "mlflow.experimentKind", "custom_model_development"
"""The tag by which MLflow's web pages choose what they show of an experiment, and our value."""
_TAGS = {_KIND: _KIND_OF_TRAININGS, _VIEW_TAG: json.dumps(_VIEW_STATE)}
"""Tags of an experiment; those that somebody has set stay."""


def tracking_uri(explicit: str | None = None) -> str:
    """Return the tracking URI: the given one, ``MLFLOW_TRACKING_URI``, else ``./mlflow.db``."""
    if explicit:
        return explicit
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return os.environ["MLFLOW_TRACKING_URI"]
    return f"sqlite:///{Path('mlflow.db').absolute().as_posix()}"


def read_tracking_uri(folder: Path) -> str | None:
    """Return the tracking URI in the config of a training's output folder, None without one."""
    import yaml

    try:
        config = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        uri = config["logger"]["mlflow"]["tracking_uri"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        return None
    return str(uri) if uri else None


def connect(explicit: str | None = None) -> MlflowClient:
    """Return a client of a store that has answered one request.

    Parameters
    ----------
    explicit : str, optional
        Tracking URI; default: see `tracking_uri`.

    Raises
    ------
    ConfigError
        MLflow cannot use the store, or the server does not answer.
    """
    uri = tracking_uri(explicit)
    scheme = urlparse(uri).scheme.split("+")[0]
    # MLflow's own defaults retry for minutes before they report that a server is down
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    for name, value in limits.items():
        os.environ.setdefault(name, value)
    quiet_mlflow()
    try:
        if scheme in ("postgresql", "mysql"):
            _try_database(uri)
        with _only_process(uri) if scheme in _DATABASES else nullcontext():
            if scheme == "sqlite":
                _create_database(uri)
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
def _only_process(uri: str) -> Iterator[None]:
    """Let only one process of a user open a database at a time.

    MLflow creates the tables at the first use; two processes that both create them would fail.
    Without a place for the lock, or after 120 seconds, the block runs without the lock.

    Parameters
    ----------
    uri : str
        Tracking URI of the database.
    """
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    with ExitStack() as stack:
        try:
            state_folder().mkdir(parents=True, exist_ok=True)
            path = state_folder() / f"store-{name}.lock"
            stack.enter_context(FileLock(path, timeout=_LOCK_TIMEOUT))
        except OSError as error:
            log.debug("the store is opened without a lock: %s", error)
        yield


def _create_database(uri: str) -> None:
    """Create the file of a SQLite store, whole or not at all.

    MLflow creates table by table. A full disk or a kill between two would leave a file that no
    version of MLflow opens again.
    """
    path = Path(uri.partition(":///")[2])
    if not path.name or path.exists() or "?" in path.name or path.name == ":memory:":
        return
    with suppress(FileExistsError, PermissionError), replacing(path) as temporary:
        try:
            MlflowClient(f"sqlite:///{temporary.as_posix()}").search_experiments(max_results=1)
        finally:
            temporary.with_name(f"{temporary.name}-journal").unlink(missing_ok=True)


def _try_database(uri: str) -> None:
    """Connect to a database once: MLflow would retry for minutes."""
    from sqlalchemy import create_engine

    engine = create_engine(uri, connect_args={"connect_timeout": 20})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def check_no_password(uri: str | None) -> None:
    """Refuse a password in a tracking URI of a config, because runs store their config.

    Raises
    ------
    ConfigError
        The URI holds a password.
    """
    if uri and has_password(str(uri)):
        raise ConfigError(
            f"logger.mlflow.tracking_uri={redact_url(str(uri))}",
            "holds a password, which would be written into configs and artifacts",
            "Set MLFLOW_TRACKING_URI instead, or keep the password in PGPASSWORD or ~/.pgpass.",
        )


def quiet_mlflow() -> None:
    """Turn off MLflow's progress bars, printed URLs and copies of lock files of packages."""
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_LOG_UV_FILES": "false"}
    quiet |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    quiet_libraries()


def page_of_trainings(client: MlflowClient) -> str:
    """Return the path of the page in MLflow's UI that lists the trainings.

    It is that of the experiment that was used last. MLflow 3 otherwise opens pages for language
    models, whatever the kind of the experiment.
    """
    named = [one for one in client.search_experiments() if one.name != "Default"]
    if not named:
        return f"/#/experiments?{_WORKFLOW}"
    latest = max(named, key=lambda one: one.last_update_time or 0)
    view = f"&viewStateShareKey={_VIEW}" if latest.tags.get(_VIEW_TAG) else ""
    return f"/#/experiments/{latest.experiment_id}/runs?{_WORKFLOW}{view}"


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an MLflow experiment; it is created if it does not exist.

    Without a kind, MLflow 3 guesses one from the runs and may open the page for language models.
    The experiment gets the kind whose page lists trainings, and a view with useful columns, unless
    somebody has chosen others.

    Artifacts of a new experiment go into ``mlartifacts/``: beside a SQLite file; with another
    database, in the current folder. A server chooses its own place.

    Raises
    ------
    ConfigError
        The experiment was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise ConfigError(
            "experiment_name",
            f"the MLflow experiment {name!r} was deleted",
            f"Restore it (`mlflow experiments restore -x {found.experiment_id}`) or name another.",
        )
    if found is not None:
        for key, value in _TAGS.items():
            if not found.tags.get(key):
                client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)
    location = None
    uri = str(client.tracking_uri)
    if uri.startswith(_DATABASES):
        beside = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else "mlflow.db"
        location = (Path(beside).absolute().parent / "mlartifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location, tags=_TAGS))
