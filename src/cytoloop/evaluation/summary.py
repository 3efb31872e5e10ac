"""Summary of the rows of an evaluation: means, pooled scores, and their intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from cytoloop.evaluation.bootstrap import (
    CONFIDENCE,
    interval,
    resample_means,
    resample_sums,
    sampling_units,
)
from cytoloop.evaluation.counts.matching import IOU_THRESHOLDS
from cytoloop.evaluation.counts.objects import ERRORS, matches_name
from cytoloop.evaluation.formulas import average_precision, f1
from cytoloop.evaluation.metrics import (
    METRICS,
    PROBABILITY,
    SKELETON,
    SURFACE,
    Metric,
    compute_scores,
    mean_of_defined,
    score_columns,
)
from cytoloop.evaluation.scoring import classes as class_scoring
from cytoloop.evaluation.scoring import objects as object_scoring
from cytoloop.evaluation.size_recall import RECALL_COLUMNS

Rows = Sequence[Mapping[str, Any]]
Pool = Callable[[Mapping[str, float]], dict[str, float]]
MIXED = "mixed"
"""Unit where distances are in um for some images and in voxels for others: they have no mean."""


def summarise_objects(rows: Rows, resamples: int, seed: int) -> dict[str, Any]:
    """Return means over images and groups, pooled scores, and 95 % intervals.

    A mean leaves out images where a score is undefined (NaN): ``undefined`` counts them. It is
    None where the score is undefined in all images. ``groups`` is empty unless a group has several
    images. Where ``unit`` is `MIXED`, scores of surfaces are None.

    Parameters
    ----------
    rows : sequence of mappings
        Rows of ``metrics.csv``.
    resamples, seed : int
        Of the bootstrap.
    """
    columns = score_columns()
    sums = add_counts(rows, object_scoring.COUNTS)
    summary = _summarise(rows, columns, object_scoring.COUNTS, pool_objects, resamples, seed)
    summary["pooled"] |= {name: sums[name] for name in (*ERRORS, "n_truth", "n_predicted")}
    intervals = summary.pop("intervals")
    intervals["groups"] = {}
    for name, own in _groups(rows).items():
        if len(own) > 1 and intervals["mean"]:
            images = [str(row["id"]) for row in own]
            intervals["groups"][name] = _mean_intervals(own, columns, images, resamples, seed)
    masks = {
        name: sum(bool(row[name]) for row in rows)
        for name in ("truth_is_binary", "prediction_is_binary")
    }
    by_iou = scores_by_iou(sums)
    return {"unit": summary["unit"], **masks, **summary, "by_iou": by_iou, "intervals": intervals}


def summarise_classes(
    rows: Rows, resamples: int, seed: int, classes: Sequence[str]
) -> dict[str, Any]:
    """Return means over images and groups, pooled scores, and 95 % intervals of classes.

    Keys are those of `summarise_objects`. Columns are ``dice`` (mean over the classes of an image)
    and ``dice_NAME``, and so on. Where ``unit`` is `MIXED`, scores of surfaces are left out.

    Parameters
    ----------
    rows, resamples, seed
        See `summarise_objects`.
    classes : sequence of str
    """
    is_mixed = unit_of(rows) == MIXED
    columns = {
        name: metric
        for name, metric in score_columns(classes).items()
        if not (is_mixed and metric.group == SURFACE)
    }
    metrics = [metric for metric in METRICS.values() if metric.name in columns and metric.pooled]
    pool = partial(class_scoring.compute_class_scores, names=classes, metrics=metrics)
    counts = class_scoring.count_columns(classes)
    summary = _summarise(rows, columns, counts, pool, resamples, seed)
    return {"classes": list(classes), **summary}


def _summarise(
    rows: Rows,
    columns: Mapping[str, Metric],
    counts: Sequence[str],
    pool: Pool,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return what summaries of objects and of classes share.

    Parameters
    ----------
    rows : sequence of mappings
    columns : mapping of str to Metric
        Columns of scores.
    counts : sequence of str
        Columns of counts.
    pool : callable
        Counts added up over images to pooled scores.
    resamples, seed : int
    """
    measured = _measured(rows, columns)
    undefined = {name: sum(math.isnan(row[name]) for row in rows) for name in measured}
    return {
        "unit": unit_of(rows),
        "mean": means(rows, columns),
        "undefined": {name: count for name, count in undefined.items() if count},
        "groups": {name: means(own, columns) for name, own in _groups(rows).items()},
        "pooled": _presentable(rows, _known(measured, columns, pool(add_counts(rows, counts)))),
        "intervals": _intervals(rows, columns, counts, pool, resamples, seed),
    }


def run_metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a summary that are logged to a run as ``test/NAME``.

    They are means (by the name of the metric), pooled scores (``pooled/NAME``), recall by size,
    and the numbers of scored and unscored images.
    """
    sizes = summary.get("recall_by_size") or {"quartiles": []}
    return {
        **summary["mean"],
        **{f"pooled/{name}": value for name, value in summary["pooled"].items()},
        **{
            f"pooled/{name}": quartile["recall"]
            for name, quartile in zip(RECALL_COLUMNS, sizes["quartiles"], strict=False)
        },
        "scored": summary["scored"],
        "unscored": sum(len(ids) for ids in summary["unscored"].values()),
    }


def means(rows: Rows, columns: Mapping[str, Metric] = METRICS) -> dict[str, float | None]:
    """Return the mean of each score over the images where it is defined."""
    names = _measured(rows, columns)
    return _presentable(rows, {name: mean_of_defined(row[name] for row in rows) for name in names})


def unit_of(rows: Rows) -> str:
    """Return the unit of distances in all rows: ``um``, ``voxel`` or `MIXED`."""
    units = {str(row["unit"]) for row in rows}
    return units.pop() if len(units) == 1 else MIXED


def add_counts(rows: Rows, names: Iterable[str]) -> dict[str, float]:
    """Return the sums of counts over images."""
    return {name: sum(row[name] for row in rows) for name in names}


def pool_objects(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the pooled metrics of objects and foreground from counts added up over images."""
    return compute_scores(counts, [metric for metric in METRICS.values() if metric.pooled])


def scores_by_iou(counts: Mapping[str, float]) -> list[dict[str, float]]:
    """Return TP, FP, FN, F1 and AP at each IoU from .5 to .95."""
    points = []
    for iou in IOU_THRESHOLDS:
        matches = counts[matches_name(iou)]
        points.append(
            {
                "iou": iou,
                "tp": matches,
                "fp": counts["n_predicted"] - matches,
                "fn": counts["n_truth"] - matches,
                "f1": f1(counts, iou),
                "ap": average_precision(counts, iou),
            }
        )
    return points


def _measured(rows: Rows, columns: Mapping[str, Metric]) -> list[str]:
    """Return the columns with values.

    Scores of probability need probability maps, those of skeletons masks of thin structures.
    """
    missing = set()
    if not any(row.get("probability") for row in rows):
        missing.add(PROBABILITY)
    if not any(row.get("skeleton_true") for row in rows):
        missing.add(SKELETON)
    return [name for name, metric in columns.items() if metric.group not in missing]


def _known(
    measured: Sequence[str], columns: Mapping[str, Metric], pooled: Mapping[str, float]
) -> dict[str, float]:
    """Return the pooled scores without those of columns that hold no values."""
    hidden = set(columns).difference(measured)
    return {name: value for name, value in pooled.items() if name not in hidden}


def _groups(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of each group, sorted by name; empty unless a group has several images."""
    sizes = Counter(str(row["group"]) for row in rows if row["group"])
    if not any(size > 1 for size in sizes.values()):
        return {}
    return {name: [row for row in rows if row["group"] == name] for name in sorted(sizes)}


def _presentable(rows: Rows, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with None for NaN, and for scores of surfaces of rows in two units."""
    is_mixed = unit_of(rows) == MIXED
    hidden = {m.name for m in METRICS.values() if is_mixed and m.group == SURFACE}
    return {
        name: None if name in hidden or (isinstance(value, float) and math.isnan(value)) else value
        for name, value in values.items()
    }


def _intervals(
    rows: Rows,
    columns: Mapping[str, Metric],
    counts: Sequence[str],
    pool: Pool,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return the 95 % intervals of means and pooled scores, and how they were computed."""
    units, kind = sampling_units(rows)
    found: dict[str, Any] = {
        "level": CONFIDENCE,
        "resamples": resamples,
        "seed": seed,
        "resampled": kind,
        "units": len(set(units)),
        "mean": {},
        "pooled": {},
    }
    if found["units"] < 2 or not resamples:
        return found
    found["mean"] = _mean_intervals(rows, columns, units, resamples, seed)
    table = np.array([[row[name] for name in counts] for row in rows], float)
    samples = [
        pool(dict(zip(counts, sums, strict=True)))
        for sums in resample_sums(table, units, resamples, seed).tolist()
    ]
    names = _known(_measured(rows, columns), columns, samples[0])
    pooled = {name: interval(np.array([s[name] for s in samples])) for name in names}
    found["pooled"] = _presentable(rows, pooled)
    return found


def _mean_intervals(
    rows: Rows,
    columns: Mapping[str, Metric],
    units: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, list[float] | None]:
    """Return the interval of the mean of each score, see `cytoloop.evaluation.bootstrap`."""
    names = _measured(rows, columns)
    values = np.array([[row[name] for name in names] for row in rows], float)
    samples = resample_means(values, units, resamples, seed)
    return _presentable(rows, {name: interval(samples[:, i]) for i, name in enumerate(names)})
