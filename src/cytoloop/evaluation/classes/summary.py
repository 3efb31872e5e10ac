"""What the rows of an evaluation of classes come to: means, pooled scores, intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.evaluation.bootstrap import LEVEL, interval, resample_means, resample_sums, units_of
from cytoloop.evaluation.classes.score import COUNTS, SCORES, mean_of
from cytoloop.evaluation.counts.surfaces import surface_dice
from cytoloop.evaluation.counts.voxels import overlap_scores

POOLED = ("dice", "iou", "precision", "recall", "surface_dice")
_IN_UNITS = ("surface_dice", "hd95")
Rows = Sequence[Mapping[str, Any]]


def summarise_classes(
    rows: Rows, names: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Return means over images, over each group's images, pooled scores, and their intervals.

    Keys are those of `cytoloop.evaluation.summary.summarise`, of scores ``dice`` (mean over the
    classes) and ``dice_NAME``. A mean leaves out images where a score is undefined; one that is
    so in all is None, and so are distances where some are in um and some in voxels.

    Parameters
    ----------
    rows : sequence of mappings
        See `score_classes`.
    names : sequence of str
    resamples, seed : int
        Of the bootstrap.
    """
    units, kind = units_of(rows)
    scores = [*SCORES, *(f"{score}_{name}" for name in names for score in SCORES)]
    lengths = {str(row["unit"]) for row in rows}
    if len(lengths) > 1:
        scores = [one for one in scores if not one.startswith(_IN_UNITS)]
    sizes = Counter(str(row["group"]) for row in rows if row["group"])
    groups = sorted(sizes) if any(size > 1 for size in sizes.values()) else []
    counts = [f"{count}_{name}" for name in names for count in COUNTS]
    sums = np.array([[row[name] for name in counts] for row in rows], float)
    found: dict[str, Any] = {
        "classes": list(names),
        "unit": lengths.pop() if len(lengths) == 1 else "mixed",
        "mean": _means(rows, scores),
        "undefined": {
            name: count for name in scores if (count := sum(math.isnan(r[name]) for r in rows))
        },
        "groups": {g: _means([r for r in rows if r["group"] == g], scores) for g in groups},
        "pooled": _pooled(dict(zip(counts, sums.sum(axis=0), strict=True)), names, scores),
        "intervals": {
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "resampled": kind,
            "units": len(set(units)),
            "mean": {},
            "pooled": {},
        },
    }
    if len(set(units)) > 1 and resamples:
        values = np.array([[row[name] for name in scores] for row in rows], float)
        means = resample_means(values, units, resamples, seed)
        drawn = [
            _pooled(dict(zip(counts, one, strict=True)), names, scores)
            for one in resample_sums(sums, units, resamples, seed).tolist()
        ]
        found["intervals"]["mean"] = {n: interval(means[:, i]) for i, n in enumerate(scores)}
        found["intervals"]["pooled"] = {
            name: interval(np.array([one[name] for one in drawn], float)) for name in drawn[0]
        }
    return found


def class_metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a summary that runs can be sorted by."""
    return {
        **summary["mean"],
        **{f"pooled/{name}": value for name, value in summary["pooled"].items()},
        "scored": summary["scored"],
        "unscored": sum(len(ids) for ids in summary["unscored"].values()),
    }


def _means(rows: Rows, scores: Sequence[str]) -> dict[str, float | None]:
    found = {name: mean_of([float(row[name]) for row in rows]) for name in scores}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _pooled(
    counts: Mapping[str, float], names: Sequence[str], scores: Sequence[str]
) -> dict[str, float | None]:
    """Return the scores of the voxels of many images taken together.

    A class that is nowhere has none.
    """
    each: dict[str, dict[str, float]] = {}
    for name in names:
        own = {count: counts[f"{count}_{name}"] for count in COUNTS}
        shown = own["voxels_true"] or own["voxels_predicted"]
        made = {**overlap_scores(own), "surface_dice": surface_dice(own)}
        each[name] = {score: made[score] if shown else math.nan for score in POOLED}
    found = {score: mean_of([one[score] for one in each.values()]) for score in POOLED}
    found |= {f"{score}_{name}": each[name][score] for name in names for score in POOLED}
    known = {name: value for name, value in found.items() if name in scores}
    return {name: None if math.isnan(value) else value for name, value in known.items()}
