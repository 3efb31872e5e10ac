"""The rounds that a model comes from and that came from it, as their runs tell them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from cytoloop.errors import ManifestError, ModelError
from cytoloop.manifest import Row, read_manifest
from cytoloop.rounds.config_differences import config_differences
from cytoloop.tracking.checkpoints import fetch_artifact, locate_checkpoint
from cytoloop.tracking.run import open_run

SHOWN_SCORES = ("val/dice", "tuned/dice", "tuned/ap_50", "test/dice", "test/f1_50", "test/seg")
"""Scores that are shown; of those of validation the best epoch's."""

_MOST = 300  # rounds of a tree


@dataclass
class Round:
    """One training in the tree.

    Attributes
    ----------
    run_id, name, status : str
    started : float
        Seconds since 1970.
    number : str
        Round, 0 for a model from scratch.
    data : str
        Name of the data set.
    data_hash : str
    counts : dict of str to int
        Rows by split.
    images : dict of str to str
        Hash of the content (else the id) to id.
    scores : dict of str to float
        See `SHOWN_SCORES`.
    versions : list of str
        Registered versions of its model.
    added, removed : list of str
        Ids of images against the parent.
    relabelled : bool
        The same images as the parent's, but not the same data: labels, regions or splits differ.
    changed : dict of str to (str, str)
        Values of the config that differ from the parent's: key to (before, now).
    children : list of Round
    """

    run_id: str
    name: str
    status: str
    started: float
    number: str
    data: str
    data_hash: str
    counts: dict[str, int]
    images: dict[str, str]
    scores: dict[str, float]
    versions: list[str]
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    relabelled: bool = False
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    children: list[Round] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Round]]:
        """Yield (depth, round) of the tree, parents first."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def read_history(model: str, uri: str | None = None) -> tuple[Round, str]:
    """Return the tree of rounds that a model belongs to, and the id of its own run.

    Parameters
    ----------
    model : str
        ``runs:/ID``, a path, ``models:/NAME/VERSION``, see
        `cytoloop.tracking.checkpoints.locate_checkpoint`.
    uri : str, optional
        Of the store.

    Raises
    ------
    ModelError
        No such model, or one without a run.
    """
    match = re.fullmatch(r"runs:/([0-9a-f]{32})(/.*)?", model.strip())
    own = match[1] if match else locate_checkpoint(model, uri).run_id
    if own is None:
        raise ModelError(model, "the file belongs to no run", "Give runs:/ID, see `cytoloop ui`.")
    client = open_run(own, uri).client
    first = _first(client, client.get_run(own))
    experiments = [str(one.experiment_id) for one in client.search_experiments()]
    seen = {first.info.run_id}
    root = _round(client, first)
    waiting = [(root, first)]
    while waiting and len(seen) < _MOST:
        parent, run = waiting.pop(0)
        for child in _children(client, run, experiments):
            if child.info.run_id not in seen:
                seen.add(child.info.run_id)
                made = _round(client, child)
                _compare(made, parent, child, run)
                parent.children.append(made)
                waiting.append((made, child))
    return root, own


def _first(client: MlflowClient, run: Run) -> Run:
    """Return the run that a chain of parents begins with, as far as this store knows it."""
    seen = set()
    while (parent := run.data.tags.get("cytoloop.parent_run")) and parent not in seen:
        seen.add(parent)
        try:
            run = client.get_run(parent)
        except MlflowException:
            break
    return run


def _children(client: MlflowClient, run: Run, experiments: list[str]) -> list[Run]:
    found = client.search_runs(
        experiments, f"tags.`cytoloop.parent_run` = '{run.info.run_id}'", max_results=_MOST
    )
    return sorted(found, key=lambda one: one.info.start_time)


def _round(client: MlflowClient, run: Run) -> Round:
    tags, run_id = run.data.tags, run.info.run_id
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return Round(
        run_id=run_id,
        name=run.info.run_name or run_id[:8],
        status=run.info.status,
        started=run.info.start_time / 1000,
        number=tags.get("cytoloop.round", "?"),
        data=tags.get("cytoloop.data_set") or (inputs[0].dataset.name if inputs else ""),
        data_hash=tags.get("cytoloop.data_hash", ""),
        counts=_counts(inputs[0].dataset.profile) if inputs else {},
        images=_images(client, run_id),
        scores=_scores(client, run),
        versions=_versions(client, run_id),
    )


def _counts(profile: str | None) -> dict[str, int]:
    try:
        found = json.loads(profile or "{}")
    except ValueError:
        return {}
    return {str(k): int(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _images(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Return the images of the manifests that the run keeps."""
    return {row["sha256"] or row.id: row.id for _, row in _rows(client, run_id)}


def training_image_hashes(run_id: str) -> set[str]:
    """Return the hashes of the images on which a run has trained or chosen anything.

    Images whose manifest has no hash are left out, and all of a run that is not here.
    """
    try:
        client = open_run(run_id).client
    except ModelError:
        return set()
    return {
        row["sha256"]
        for split, row in _rows(client, run_id)
        if (row["split"] or split) in ("train", "valid") and row["sha256"]
    }


def _rows(client: MlflowClient, run_id: str) -> Iterator[tuple[str, Row]]:
    """Yield the name and each row of the manifests that the run keeps."""
    for entry in client.list_artifacts(run_id, "data"):
        if entry.is_dir or not entry.path.endswith(".csv"):
            continue
        try:
            path = fetch_artifact(run_id, entry.path, str(client.tracking_uri))
            rows = read_manifest(path).rows
        except (ManifestError, FileNotFoundError):  # of an earlier version, or spoiled
            continue
        yield from ((path.stem, row) for row in rows if row["status"] != "reject")


def _scores(client: MlflowClient, run: Run) -> dict[str, float]:
    known = run.data.metrics
    found = {name: known[name] for name in SHOWN_SCORES if name in known}
    if "val/dice" in found:
        past = client.get_metric_history(run.info.run_id, "val/dice")
        found["val/dice"] = max(one.value for one in past)
    return found


def _versions(client: MlflowClient, run_id: str) -> list[str]:
    try:
        found = client.search_model_versions(f"run_id='{run_id}'")
    except MlflowException:  # a store without a registry
        return []
    return [f"{one.name} {one.version}" for one in found]


def _compare(child: Round, parent: Round, run: Run, former: Run) -> None:
    child.added = [child.images[key] for key in child.images.keys() - parent.images.keys()]
    child.removed = [parent.images[key] for key in parent.images.keys() - child.images.keys()]
    child.added.sort()
    child.removed.sort()
    same = not child.added and not child.removed
    child.relabelled = same and child.data_hash != parent.data_hash
    folders = tuple(one.data.tags.get("cytoloop.output", "") for one in (former, run))
    found = config_differences(former.data.params, run.data.params, (folders[0], folders[1]))
    child.changed = {key: (then or "-", now or "-") for key, (then, now) in found.items()}
