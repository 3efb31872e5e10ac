"""The history of a model: the rounds before and after it, read from their MLflow runs."""

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
from cytoloop.tracking.artifacts import fetch_artifact
from cytoloop.tracking.checkpoints import locate_checkpoint
from cytoloop.tracking.output_folder import RUN_ID
from cytoloop.tracking.run import open_run

SHOWN_SCORES = ("val/dice", "tuned/dice", "tuned/ap_50", "test/dice", "test/f1_50", "test/seg")
"""Scores in a history. For ``val/dice`` the value of the best epoch is taken."""

_MAX_ROUNDS = 300


@dataclass
class Round:
    """One training in the tree.

    Attributes
    ----------
    run_id, name, status : str
    started : float
        Seconds since 1970.
    number : str
        Number of the round; 0 for a model trained from scratch.
    data : str
        Name of the data set.
    data_hash : str
    counts : dict of str to int
        Number of images by split.
    images : dict of str to str
        Hash of the content (the id if there is no hash) to id.
    scores : dict of str to float
        See `SHOWN_SCORES`.
    versions : list of str
        Registered versions of its model.
    added, removed : list of str
        Ids of the images that the parent does not have, and that only the parent has.
    relabelled : bool
        Whether the images are the same as in the parent, but labels, regions or splits differ.
    changed : dict of str to (str, str)
        Config values that differ from the parent: key to (before, now).
    children : list of Round
    start : str
        The model that it starts from, where no run of the store made it: a file, or one that ships.
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
    start: str = ""

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Round]]:
        """Yield (depth, round) of the tree, parents first."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def read_history(checkpoint: str, uri: str | None = None) -> tuple[Round, str]:
    """Return the tree of rounds that a model belongs to, and the id of its own run.

    Parameters
    ----------
    checkpoint : str
        ``runs:/ID``, a path, ``models:/NAME/VERSION``, see
        `cytoloop.tracking.checkpoints.locate_checkpoint`.
    uri : str, optional
        Tracking URI; default: see `cytoloop.tracking.store.tracking_uri`.

    Raises
    ------
    ModelError
        There is no such checkpoint, or its run is unknown.
    """
    match = re.fullmatch(rf"runs:/({RUN_ID})(/.*)?", checkpoint.strip())
    own_id = match[1] if match else locate_checkpoint(checkpoint, uri).run_id
    if own_id is None:
        raise ModelError(
            checkpoint, "the run of this file is unknown", "Give runs:/ID, see `cytoloop ui`."
        )
    client = open_run(own_id, uri).client
    first = _first_ancestor(client, client.get_run(own_id))
    experiments = [str(one.experiment_id) for one in client.search_experiments()]
    seen = {first.info.run_id}
    root = _read_round(client, first)
    queue = [(root, first)]
    while queue and len(seen) < _MAX_ROUNDS:
        parent, parent_run = queue.pop(0)
        for run in _child_runs(client, parent_run, experiments):
            if run.info.run_id not in seen:
                seen.add(run.info.run_id)
                child = _read_round(client, run)
                _compare_with_parent(child, parent, run, parent_run)
                parent.children.append(child)
                queue.append((child, run))
    return root, own_id


def _first_ancestor(client: MlflowClient, run: Run) -> Run:
    """Return the first run of the chain of parents; the chain ends where the store ends."""
    seen = set()
    while (parent := run.data.tags.get("cytoloop.parent_run")) and parent not in seen:
        seen.add(parent)
        try:
            run = client.get_run(parent)
        except MlflowException:
            break
    return run


def _child_runs(client: MlflowClient, run: Run, experiments: list[str]) -> list[Run]:
    found = client.search_runs(
        experiments, f"tags.`cytoloop.parent_run` = '{run.info.run_id}'", max_results=_MAX_ROUNDS
    )
    return sorted(found, key=lambda one: one.info.start_time)


def _read_round(client: MlflowClient, run: Run) -> Round:
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
        counts=_read_counts(inputs[0].dataset.profile) if inputs else {},
        images=_images(client, run_id),
        scores=_read_scores(client, run),
        versions=_read_versions(client, run_id),
        start="" if tags.get("cytoloop.parent_run") else tags.get("cytoloop.parent_model", ""),
    )


def _read_counts(profile: str | None) -> dict[str, int]:
    try:
        found = json.loads(profile or "{}")
    except ValueError:
        return {}
    return {str(k): int(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _images(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Return the images in the manifests of a run: hash (the id if there is none) to id."""
    return {row["sha256"] or row.id: row.id for _, row in _manifest_rows(client, run_id)}


def training_image_hashes(run_id: str) -> set[str]:
    """Return the hashes of the training and validation images of a run.

    Images without a hash in the manifest are left out. The set is empty for an unknown run.
    """
    try:
        client = open_run(run_id).client
    except ModelError:
        return set()
    return {
        row["sha256"]
        for split, row in _manifest_rows(client, run_id)
        if (row["split"] or split) in ("train", "valid") and row["sha256"]
    }


def _manifest_rows(client: MlflowClient, run_id: str) -> Iterator[tuple[str, Row]]:
    """Yield (manifest name, row) of the manifests of a run; rejected rows are left out."""
    for entry in client.list_artifacts(run_id, "data"):
        if entry.is_dir or not entry.path.endswith(".csv"):
            continue
        try:
            path = fetch_artifact(run_id, entry.path, str(client.tracking_uri))
            rows = read_manifest(path).rows
        except (ManifestError, FileNotFoundError):  # damaged, or of an earlier version
            continue
        yield from ((path.stem, row) for row in rows if row["status"] != "reject")


def _read_scores(client: MlflowClient, run: Run) -> dict[str, float]:
    known = run.data.metrics
    found = {name: known[name] for name in SHOWN_SCORES if name in known}
    if "val/dice" in found:
        past = client.get_metric_history(run.info.run_id, "val/dice")
        found["val/dice"] = max(one.value for one in past)
    return found


def _read_versions(client: MlflowClient, run_id: str) -> list[str]:
    try:
        found = client.search_model_versions(f"run_id='{run_id}'")
    except MlflowException:  # a store without a registry
        return []
    return [f"{one.name} {one.version}" for one in found]


def _compare_with_parent(child: Round, parent: Round, run: Run, parent_run: Run) -> None:
    """Set `added`, `removed`, `relabelled` and `changed` of a round."""
    child.added = sorted(child.images[key] for key in child.images.keys() - parent.images.keys())
    child.removed = sorted(parent.images[key] for key in parent.images.keys() - child.images.keys())
    same = not child.added and not child.removed
    child.relabelled = same and child.data_hash != parent.data_hash
    folder, parent_folder = (one.data.tags.get("cytoloop.output", "") for one in (run, parent_run))
    found = config_differences(parent_run.data.params, run.data.params, (parent_folder, folder))
    child.changed = {key: (before or "-", now or "-") for key, (before, now) in found.items()}
