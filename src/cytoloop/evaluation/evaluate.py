"""Score predictions against truth: one row an image, and what they come to together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from cytoloop.errors import CytoloopError, ImageError, ManifestError
from cytoloop.evaluation.matching import match_instances
from cytoloop.evaluation.overlap import overlap_counts, overlap_scores
from cytoloop.evaluation.pairs import PairedRows, pair_rows
from cytoloop.evaluation.scores import instance_counts, instance_scores, pooled_scores
from cytoloop.images import read_labels
from cytoloop.manifest import Row
from cytoloop.targets import read_target
from cytoloop.terminal import events

SCORES = (
    *("dice", "iou", "precision", "recall"),
    *("f1_50", "ap_50", "f1_75", "ap_75", "mean_ap", "seg", "sq", "pq", "count_error"),
)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    rows : list of dict
        One an image: id, group, run_id, files, counts, scores.
    summary : dict
        ``scored`` and ``unscored`` images, ``mean`` over images, ``groups`` (means of each),
        ``pooled`` over all objects.
    pairs : list of (Row, Row)
        Prediction and truth of each row.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    pairs: list[tuple[Row, Row]]


def evaluate(predictions: str | Path, truth: str | Path) -> Evaluation:
    """Score every prediction that has a truth.

    Parameters
    ----------
    predictions, truth : str or Path
        See `cytoloop.evaluation.pairs.pair_rows`.

    Raises
    ------
    ManifestError
        No pairs, or files that cannot be scored; all of them at once.
    """
    paired = pair_rows(predictions, truth)
    rows, problems = [], []
    shown = track(
        paired.pairs, "scoring", console=events, transient=True, disable=not events.is_terminal
    )
    for prediction, true in shown:
        try:
            rows.append(score_pair(prediction, true))
        except CytoloopError as error:
            problems += [f"{prediction.id}: {error.where}: {text}" for text in error.problems]
    if problems:
        raise ManifestError(
            str(predictions), problems, "Mend these files, or take the images out of both tables."
        )
    return Evaluation(rows, summarise(rows, paired), paired.pairs)


def score_pair(prediction: Row, true: Row) -> dict[str, Any]:
    """Return the row of one image: files, counts, scores.

    Raises
    ------
    ImageError
        Unreadable, no labels, or of another shape.
    """
    labels = read_prediction(prediction)
    truth, valid = read_target(true)
    if labels.shape != truth.shape:
        raise ImageError(
            str(prediction.file("labels") or prediction.file("mask")),
            f"shape {labels.shape} but the truth is {truth.shape}",
            "Prediction and truth must be the same picture.",
        )
    lost = int(truth.max(initial=0)) == 1
    voxels = overlap_counts(truth, labels, valid)
    counts = instance_counts(match_instances(_objects(truth) if lost else truth, labels, valid))
    files = {name: prediction.file(name) for name in ("raw", "probability", "mask", "labels")}
    files |= {name: true.file(name) for name in ("seg1", "seg2", "exclude_mask")}
    if files["raw"] is None:
        files["raw"] = true.file("raw")
    return {
        "id": prediction.id,
        "group": true["group"] or prediction["group"],
        **overlap_scores(voxels),
        **instance_scores(counts),
        **counts,
        **voxels,
        "truth_is_binary": lost,
        "run_id": prediction["run_id"],
        **{name: str(path) if path else "" for name, path in files.items()},
    }


def read_prediction(row: Row) -> np.ndarray:
    """Return predicted labels ([Z,] Y, X); of a mask alone its face-connected components."""
    path = row.file("labels")
    if path is not None:
        return read_labels(path)
    mask = row.file("mask")
    if mask is None:
        raise ImageError(row.id, "has neither labels nor mask", "Predict it again.")
    return _objects(read_labels(mask))


def summarise(rows: Sequence[Mapping[str, Any]], paired: PairedRows) -> dict[str, Any]:
    """Return means over images, over each group's images, and the pooled scores.

    A mean leaves out images where a score is undefined (NaN); None where it is so in all.
    """
    groups = sorted({str(row["group"]) for row in rows if row["group"]})
    return {
        "scored": len(rows),
        "unscored": {
            "predictions_without_truth": paired.without_truth,
            "truths_without_prediction": paired.without_prediction,
        },
        "truth_is_binary": sum(bool(row["truth_is_binary"]) for row in rows),
        "mean": _means(rows),
        "groups": {g: _means([row for row in rows if row["group"] == g]) for g in groups},
        "pooled": {k: _known(v) for k, v in pooled_scores(rows).items()},
    }


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name in SCORES:
        values = [float(row[name]) for row in rows if not math.isnan(row[name])]
        means[name] = math.fsum(values) / len(values) if values else None
    return means


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _objects(mask: np.ndarray) -> np.ndarray:
    import cc3d

    return np.asarray(
        cc3d.connected_components(
            (mask > 0).astype(np.uint8), connectivity=4 if mask.ndim == 2 else 6
        )
    )
