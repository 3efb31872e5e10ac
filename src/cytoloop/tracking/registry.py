"""The model registry: versions with all that they need, and the alias ``champion``."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.checkpoints import fetch_artifact
from cytoloop.tracking.mlflow_model import ServedModel, to_json, write_mlflow_model
from cytoloop.tracking.run import CHECKPOINTS, TrackedRun, open_run, start_run
from cytoloop.tracking.store import connect

log = logging.getLogger(__name__)

CHAMPION = "champion"
VERDICT, COMPARED_WITH = "cytoloop.verdict", "cytoloop.compared_with"
_SHA = "cytoloop.sha256"
_OF_RUN = ("cytoloop.data_hash", "cytoloop.parent_run", "cytoloop.parent_model")
_FOLDER = "registered"
_IMPORTS = "cytoloop-imports"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w-]+))?/?")
_NAME = re.compile(r"[A-Za-z0-9_][\w .-]{0,99}")


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes
    ----------
    name : str
    number : int
    aliases : tuple of str
    run_id : str or None
        The run that made it.
    created : datetime
    tags : dict of str to str
    scores : dict of str to float
        ``test/...`` and ``val/...`` of the run, as they are now.
    source : str
        Where its files are.
    """

    name: str
    number: int
    aliases: tuple[str, ...]
    run_id: str | None
    created: datetime
    tags: dict[str, str]
    scores: dict[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def uri(self) -> str:
        """``models:/NAME/NUMBER``."""
        return f"models:/{self.name}/{self.number}"

    @property
    def sha256(self) -> str:
        """Of its checkpoint, empty where it was not registered by us."""
        return self.tags.get(_SHA, "")


def check_model_name(name: str) -> str:
    """Return a name that a model may have.

    Raises
    ------
    ConfigError
        It cannot be part of a URI.
    """
    if not _NAME.fullmatch(str(name)):
        raise ConfigError(
            "name", f"{name!r} cannot name a model", "Take letters, digits, '.', '_', '-', ' '."
        )
    return str(name)


def list_versions(name: str | None = None) -> list[Version]:
    """Return the versions of one model or of all, by name, the newest first.

    Raises
    ------
    ModelError
        No model of that name.
    """
    client = connect()
    names = _names(client)
    if name is not None and name not in names:
        known = f"registered: {', '.join(sorted(names))}" if names else "nothing is registered"
        raise ModelError(f"models:/{name}", "no such model", f"In this store, {known}.")
    return [version for one in sorted(names) if name in (None, one) for version in _of(client, one)]


def find_version(uri: str, newest: bool = False) -> Version:
    """Return a version by ``models:/NAME/NUMBER``, ``models:/NAME@ALIAS`` or ``NAME``.

    Parameters
    ----------
    uri : str
    newest : bool
        What a name alone stands for: the newest, else the champion (the newest where none is).

    Raises
    ------
    ModelError
        No such URI, model or version.
    """
    text = str(uri).strip()
    match = _URI.fullmatch(text if text.startswith("models:") else f"models:/{text}")
    if match is None:
        raise ModelError(uri, "is no model URI", "Expected NAME, models:/NAME/VERSION or @ALIAS.")
    versions = list_versions(match["name"])
    if match["version"]:
        found = [one for one in versions if one.number == int(match["version"])]
    elif match["alias"]:
        found = [one for one in versions if match["alias"] in one.aliases]
    else:
        found = [one for one in versions if CHAMPION in one.aliases and not newest] or versions
    if not found:
        raise ModelError(
            uri,
            "no such version",
            f"See `cytoloop models list name={match['name']}`; `promote` makes a {CHAMPION}.",
        )
    return found[0]


def find_champion(name: str) -> Version | None:
    """Return the champion of a model, None where there is none yet."""
    return next((one for one in list_versions(name) if CHAMPION in one.aliases), None)


def register_model(name: str, model: ServedModel, run_id: str | None, origin: str = "") -> Version:
    """Make a version of a checkpoint of ours; of the same one and name there is only one.

    Parameters
    ----------
    name : str
    model : Model
    run_id : str or None
        The run that made it; None makes one that holds the checkpoint.
    origin : str
        Where a model without a run is from.

    Returns
    -------
    Version

    Raises
    ------
    ConfigError
        An impossible name, or a store that does not answer.
    ModelError
        The run is not in the store.
    """
    client = connect()
    check_model_name(name)
    known = _names(client)
    for former in _of(client, name) if name in known else ():
        if former.sha256 == model.sha256:
            log.info("%s is this model already", former.uri)
            return former
    run = open_run(run_id, client=client) if run_id else _import_run(name, model, origin)
    info = client.get_run(run.run_id)
    tags = {_SHA: model.sha256, **{f"cytoloop.{k}": v for k, v in model.facts.items()}}
    tags |= {key: info.data.tags[key] for key in _OF_RUN if key in info.data.tags}
    place = f"{_FOLDER}/{model.sha256[:12]}"
    with tempfile.TemporaryDirectory(prefix="cytoloop-register-") as temporary:
        folder = Path(temporary) / "package"
        write_mlflow_model(model, folder, _files(run, info.data.metrics, tags))
        client.log_artifacts(run.run_id, str(folder), place)
    if name not in known:
        client.create_registered_model(name)
    source = f"{info.info.artifact_uri}/{place}"
    made = client.create_model_version(name, source, run.run_id, tags=tags)
    version = _version(client, made, {})
    log.info("registered %s", version.uri)
    return version


def set_champion(version: Version, verdict: str, against: Version | None) -> None:
    """Point the alias at a version, and write down why."""
    client = connect()
    write_verdict(version, verdict, against)
    client.set_registered_model_alias(version.name, CHAMPION, str(version.number))


def write_verdict(version: Version, verdict: str, against: Version | None) -> None:
    """Write the verdict on a version as its tag."""
    client = connect()
    number = str(version.number)
    client.set_model_version_tag(version.name, number, VERDICT, verdict)
    client.set_model_version_tag(
        version.name, number, COMPARED_WITH, against.uri if against else ""
    )


def _names(client: MlflowClient) -> list[str]:
    """Return the names of all registered models."""
    found: list[str] = []
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        found += [model.name for model in page]
        token = page.token
        if not token:
            return found


def _of(client: MlflowClient, name: str) -> list[Version]:
    """Return the versions of a model, the newest first."""
    aliases: dict[int, list[str]] = {}
    for alias, number in dict(client.get_registered_model(name).aliases).items():
        aliases.setdefault(int(number), []).append(alias)
    found: list[Version] = []
    token = None
    while True:
        page = client.search_model_versions(f'name="{name}"', page_token=token)
        found += [_version(client, one, aliases) for one in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda one: -one.number)


def _version(
    client: MlflowClient, found: ModelVersion, aliases: Mapping[int, Sequence[str]]
) -> Version:
    number = int(found.version)
    return Version(
        name=found.name,
        number=number,
        aliases=tuple(aliases.get(number, ())),
        run_id=found.run_id or None,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, tz=timezone.utc),
        tags=dict(found.tags),
        scores=_scores(client, found.run_id),
        source=found.source or "",
    )


def read_run_scores(run_id: str | None) -> dict[str, float]:
    """Return the ``test/...`` and ``val/...`` scores of a run, none of one that is not here."""
    return _scores(connect(), run_id) if run_id else {}


def _scores(client: MlflowClient, run_id: str | None) -> dict[str, float]:
    """Return the scores of a run; of one that was deleted there are none."""
    try:
        metrics = client.get_run(run_id).data.metrics if run_id else {}
    except MlflowException:
        return {}
    return {name: v for name, v in metrics.items() if name.startswith(("test/", "val/"))}


def _files(run: TrackedRun, metrics: Mapping[str, float], tags: Mapping[str, str]) -> dict:
    """Return what lies beside the checkpoint: scores, facts and the config of the training."""
    files = {"scores.json": to_json(dict(metrics)), "facts.json": to_json(dict(tags))}
    try:
        config = fetch_artifact(run.run_id, "config.yaml", str(run.client.tracking_uri))
        files["config.yaml"] = config.read_text(encoding="utf-8")
    except FileNotFoundError:  # of an imported model there is none
        log.debug("run %s has no config.yaml", run.run_id)
    return files


def _import_run(name: str, model: ServedModel, origin: str) -> TrackedRun:
    """Return a run for a model that none here has made."""
    run = start_run(_IMPORTS, f"import-{name}")
    run.tags({"cytoloop.task": "import", "cytoloop.parent_model": origin or None})
    run.files([model.path], CHECKPOINTS)
    run.end("FINISHED")
    return run
