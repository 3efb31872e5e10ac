"""Score predictions against truth: one row an image, and what they come to together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from cytoloop.errors import CytoloopError, ImageError, ManifestError
from cytoloop.evaluation.matching import match_instances
from cytoloop.evaluation.objects import GUESS, PICTURES, read_objects, read_truth
from cytoloop.evaluation.overlap import overlap_counts, overlap_scores
from cytoloop.evaluation.pairs import PairedRows, pair_rows
from cytoloop.evaluation.scores import instance_counts, instance_scores, pooled_scores
from cytoloop.manifest import Row
from cytoloop.terminal import events

SCORES = (
    *("dice", "iou", "precision", "recall"),
    *("f1_50", "ap_50", "f1_75", "ap_75", "mean_ap", "seg", "sq", "pq", "count_error"),
    *("precision_50", "recall_50"),
)
_TRUE_FILES = ("seg1", "seg2", "merge_mask", "exclude_mask")
_PREDICTED_FILES = ("labels", "mask", "probability")
_CHOICES = ("base_image", "channel_seg1", "channel_seg2", "split", "spacing_um")
_RAW_CHOICES = ("channel", "scene", "time")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    rows : list of dict
        One an image: id, group, run_id, files, counts, scores.
    summary : dict
        ``scored`` and ``unscored`` images, ``mean`` over images, ``groups`` (means of each),
        ``pooled`` over all objects; see `summarise`.
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
        No pairs, files that cannot be scored (all of them at once), or nothing but images
        that are excluded as a whole.
    """
    paired = pair_rows(predictions, truth)
    rows, pairs, problems = [], [], []
    excluded = []
    shown = track(
        paired.pairs, "scoring", console=events, transient=True, disable=not events.is_terminal
    )
    for prediction, true in shown:
        try:
            row = score_pair(prediction, true)
            if row is None:
                excluded.append(prediction.id)
            else:
                rows.append(row)
                pairs.append((prediction, true))
        except CytoloopError as error:
            problems += [f"{prediction.id}: {error.where}: {text}" for text in error.problems]
    if problems:
        raise ManifestError(
            str(predictions), problems, "Mend these files, or take the images out of both tables."
        )
    if not rows:
        raise ManifestError(
            str(truth), "every image is excluded as a whole", "Check the column 'exclude_mask'."
        )
    return Evaluation(rows, summarise(rows, paired, excluded), pairs)


def score_pair(prediction: Row, true: Row) -> dict[str, Any] | None:
    """Return the row of one image: files, counts, scores; None if all of it is excluded.

    Raises
    ------
    ImageError
        Unreadable, no labels, or of another shape.
    """
    labels, pieces = read_objects(prediction)
    truth, valid, from_mask = read_truth(true)
    if labels.shape != truth.shape:
        path = next(prediction.file(name) for name in PICTURES if prediction[name])
        raise ImageError(
            str(path),
            f"shape {labels.shape} but the truth is {truth.shape}",
            "Prediction and truth must be the same picture.",
        )
    if not valid.any():
        return None  # an empty image is a perfect one: it must not lift the mean
    voxels = overlap_counts(truth, labels, valid)
    counts = instance_counts(match_instances(truth, labels, valid))
    return {
        "id": prediction.id,
        "group": true["group"] or prediction["group"],
        **overlap_scores(voxels),
        **instance_scores(counts),
        **counts,
        **voxels,
        "truth_is_binary": from_mask,
        "prediction_is_binary": pieces,
        "run_id": prediction["run_id"],
        **_manifest_cells(prediction, true, "mask" if pieces else "labels"),
    }


def _manifest_cells(prediction: Row, true: Row, kind: str) -> dict[str, str]:
    """Return what makes a row of scores a manifest row: the same truth, read the same way."""
    cells = {name: _path(true, name) for name in _TRUE_FILES}
    cells |= {name: _path(prediction, name) for name in _PREDICTED_FILES}
    cells[kind] = cells[kind] or _path(prediction, GUESS)
    cells["raw"] = _path(prediction, "raw") or _path(true, "raw")
    cells |= {name: true[name] or prediction[name] for name in _CHOICES}
    return cells | {name: prediction[name] or true[name] for name in _RAW_CHOICES}


def _path(row: Row, column: str) -> str:
    return row.named(column)


def summarise(
    rows: Sequence[Mapping[str, Any]], paired: PairedRows, excluded: Sequence[str] = ()
) -> dict[str, Any]:
    """Return means over images, over each group's images, and the pooled scores.

    A mean leaves out images where a score is undefined (NaN): ``undefined`` counts them. It is
    None where the score is so in all. Groups are there if any has several images. Every image
    that is not scored is in one list of ``unscored``; ``failures`` has the reasons of
    predictions that have no picture.
    """
    sizes = Counter(str(row["group"]) for row in rows if row["group"])
    groups = sorted(sizes) if any(size > 1 for size in sizes.values()) else []
    undefined = {name: sum(math.isnan(row[name]) for row in rows) for name in SCORES}
    return {
        "scored": len(rows),
        "unscored": {
            "predictions_without_truth": paired.without_truth,
            "truths_without_prediction": paired.without_prediction,
            "truths_rejected": paired.rejected,
            "excluded_as_a_whole": list(excluded),
        },
        "failures": paired.failures,
        "truth_is_binary": sum(bool(row["truth_is_binary"]) for row in rows),
        "prediction_is_binary": sum(bool(row["prediction_is_binary"]) for row in rows),
        "mean": _means(rows),
        "undefined": {name: count for name, count in undefined.items() if count},
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
