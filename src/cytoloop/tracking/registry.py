"""The model registry in MLflow: versions of models, and the alias ``champion``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cytoloop.errors import ConfigError, ModelError
from cytoloop.tracking.store import connect

CHAMPION = "champion"
VERDICT, COMPARED_WITH = "cytoloop.verdict", "cytoloop.compared_with"
SHA256_TAG = "cytoloop.sha256"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w-]+))?/?")
_NAME = re.compile(r"[A-Za-z0-9_][\w .-]{0,99}")


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes
    ----------
    name : str
        Name of the model.
    number : int
    aliases : tuple of str
    run_id : str or None
        The run that made it.
    created : datetime
        UTC.
    tags : dict of str to str
    scores : dict of str to float
        ``test/...`` and ``val/...`` that the run has now.
    source : str
        URI of its files.
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
        """SHA-256 of its checkpoint; empty if CytoLoop did not register the version."""
        return self.tags.get(SHA256_TAG, "")


def check_model_name(name: str) -> str:
    """Return the name if a model may have it.

    Raises
    ------
    ConfigError
        The name cannot be part of a model URI.
    """
    if not _NAME.fullmatch(str(name)):
        raise ConfigError(
            "name",
            f"{name!r} is not a valid model name",
            "Use up to 100 letters, digits, '.', '_', '-' and ' ', "
            "starting with a letter, a digit or '_'.",
        )
    return str(name)


def list_versions(name: str | None = None) -> list[Version]:
    """Return the versions of one model or of all models, by name, the newest first.

    Raises
    ------
    ModelError
        There is no model of that name.
    """
    client = connect()
    names = sorted(model.name for model in _all_pages(client.search_registered_models))
    if name is None:
        return [version for one in names for version in _versions_of(client, one)]
    if name not in names:
        known = f"Registered: {', '.join(names)}." if names else "No model is registered."
        raise ModelError(f"models:/{name}", "no such model", known)
    return _versions_of(client, name)


def find_version(uri: str, newest: bool = False) -> Version:
    """Return a registered version.

    Parameters
    ----------
    uri : str
        ``models:/NAME/NUMBER``, ``models:/NAME@ALIAS``, or a name.
    newest : bool
        True: a name means its newest version. False: its champion, or the newest version if
        there is no champion.

    Raises
    ------
    ModelError
        The URI is wrong, or there is no such model or version.
    """
    text = str(uri).strip()
    match = _URI.fullmatch(text if text.startswith("models:") else f"models:/{text}")
    if match is None:
        raise ModelError(
            uri, "not a model URI", "Expected NAME, models:/NAME/VERSION or models:/NAME@ALIAS."
        )
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
            f"See `cytoloop models list name={match['name']}`. "
            f"`cytoloop models promote` sets the alias {CHAMPION}.",
        )
    return found[0]


def find_champion(name: str) -> Version | None:
    """Return the champion of a model, None if it has none yet."""
    return next((one for one in list_versions(name) if CHAMPION in one.aliases), None)


def set_champion(version: Version, verdict: str, compared_with: Version | None) -> None:
    """Move the alias ``champion`` to a version, and write the verdict on it."""
    write_verdict(version, verdict, compared_with)
    connect().set_registered_model_alias(version.name, CHAMPION, str(version.number))


def write_verdict(version: Version, verdict: str, compared_with: Version | None) -> None:
    """Write the verdict of a comparison on a version, as tags."""
    client, number = connect(), str(version.number)
    other = compared_with.uri if compared_with else ""
    client.set_model_version_tag(version.name, number, VERDICT, verdict)
    client.set_model_version_tag(version.name, number, COMPARED_WITH, other)


def read_run_scores(run_id: str | None) -> dict[str, float]:
    """Return the ``test/...`` and ``val/...`` scores of a run; empty for an unknown run."""
    return _scores_of(connect(), run_id) if run_id else {}


def _all_pages(search: Callable[..., Any], *words: str) -> Iterator[Any]:
    """Yield all results of a search of MLflow's client, page by page."""
    token = None
    while True:
        page = search(*words, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _versions_of(client: MlflowClient, name: str) -> list[Version]:
    """Return the versions of a model, the newest first."""
    aliases: dict[int, list[str]] = {}
    for alias, number in dict(client.get_registered_model(name).aliases).items():
        aliases.setdefault(int(number), []).append(alias)
    pages = _all_pages(client.search_model_versions, f'name="{name}"')
    versions = [to_version(client, one, aliases) for one in pages]
    return sorted(versions, key=lambda one: -one.number)


def to_version(
    client: MlflowClient, found: ModelVersion, aliases: Mapping[int, Sequence[str]] | None = None
) -> Version:
    """Return a version of MLflow's registry with the scores of its run.

    Parameters
    ----------
    client : MlflowClient
    found : ModelVersion
    aliases : mapping of int to sequence of str, optional
        Aliases of the model by version number.
    """
    number = int(found.version)
    return Version(
        name=found.name,
        number=number,
        aliases=tuple((aliases or {}).get(number, ())),
        run_id=found.run_id or None,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC),
        tags=dict(found.tags),
        scores=_scores_of(client, found.run_id),
        source=found.source or "",
    )


def _scores_of(client: MlflowClient, run_id: str | None) -> dict[str, float]:
    """Return the scores of a run; a deleted run has none."""
    try:
        metrics = client.get_run(run_id).data.metrics if run_id else {}
    except MlflowException:
        return {}
    return {name: v for name, v in metrics.items() if name.startswith(("test/", "val/"))}
