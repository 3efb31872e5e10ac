"""What the rows of an evaluation come to together: means, pooled scores, intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.evaluation.bootstrap import (
    LEVEL,
    interval,
    resample_means,
    resample_sums,
    units_of,
)
from cytoloop.evaluation.counts.objects import (
    COUNTS,
    added_counts,
    pooled_scores,
    scores_by_iou,
    scores_of_counts,
)
from cytoloop.evaluation.metrics import PROBABILITY, SCORES
from cytoloop.evaluation.size_recall import QUARTILES

UNITS = ("um", "voxel")
_IN_UNITS = ("surface_dice", "hd95")
Rows = Sequence[Mapping[str, Any]]


def summarise(rows: Rows, resamples: int, seed: int) -> dict[str, Any]:
    """Return means over images, over each group's images, pooled scores, and their intervals.

    A mean leaves out images where a score is undefined (NaN): ``undefined`` counts them. It is
    None where the score is so in all. Groups are there if any has several images. Distances in um
    and in voxels have no mean: where both occur (``unit`` is mixed) it is None.
    """
    sizes = Counter(str(row["group"]) for row in rows if row["group"])
    groups = sorted(sizes) if any(size > 1 for size in sizes.values()) else []
    units = {str(row["unit"]) for row in rows}
    names = measured(rows)
    undefined = {name: sum(math.isnan(row[name]) for row in rows) for name in names}
    counts = added_counts(rows)
    return {
        "unit": units.pop() if len(units) == 1 else "mixed",
        "truth_is_binary": sum(bool(row["truth_is_binary"]) for row in rows),
        "prediction_is_binary": sum(bool(row["prediction_is_binary"]) for row in rows),
        "mean": means(rows),
        "undefined": {name: count for name, count in undefined.items() if count},
        "groups": {g: means([row for row in rows if row["group"] == g]) for g in groups},
        "pooled": {k: _known(v) for k, v in _unmixed(rows, pooled_scores(rows)).items()},
        "by_iou": scores_by_iou(counts),
        "intervals": _intervals(rows, groups, resamples, seed),
    }


def as_metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a summary that runs can be sorted by.

    Means by the names of the scores, pooled ones as ``pooled/...``, recall by size, and how many
    images were scored and were not.
    """
    sizes = summary["recall_by_size"] or {"quartiles": []}
    return {
        **summary["mean"],
        **{f"pooled/{name}": value for name, value in summary["pooled"].items()},
        **{
            f"pooled/recall_{name}": one["recall"]
            for name, one in zip(QUARTILES, sizes["quartiles"], strict=False)
        },
        "scored": summary["scored"],
        "unscored": sum(len(ids) for ids in summary["unscored"].values()),
    }


def measured(rows: Rows) -> tuple[str, ...]:
    """Return the names of the scores that were measured: those of probability only where given."""
    given = any(row.get("probability") for row in rows)
    return SCORES if given else tuple(name for name in SCORES if name not in PROBABILITY)


def means(rows: Rows) -> dict[str, float | None]:
    """Return the mean of each score over the images where it is defined."""
    found: dict[str, float | None] = {}
    for name in measured(rows):
        values = [float(row[name]) for row in rows if not math.isnan(row[name])]
        found[name] = math.fsum(values) / len(values) if values else None
    return _unmixed(rows, found)


def _unmixed(rows: Rows, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores, without those that depend on a unit of length where rows have two units."""
    if len({row["unit"] for row in rows}) < 2:
        return dict(scores)
    return {name: None if name in _IN_UNITS else value for name, value in scores.items()}


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _intervals(rows: Rows, groups: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """Return 95 % intervals of means, pooled scores and the means of groups."""
    units, kind = units_of(rows)
    found: dict[str, Any] = {
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "resampled": kind,
        "units": len(set(units)),
        "mean": {},
        "pooled": {},
        "groups": {},
    }
    if found["units"] < 2 or not resamples:
        return found
    found["mean"] = _mean_intervals(rows, units, resamples, seed)
    sums = np.array([[row[name] for name in COUNTS] for row in rows], float)
    samples = [
        scores_of_counts(dict(zip(COUNTS, drawn, strict=True)))
        for drawn in resample_sums(sums, units, resamples, seed).tolist()
    ]
    pooled = {name: interval(np.array([s[name] for s in samples])) for name in samples[0]}
    found["pooled"] = _unmixed(rows, pooled)
    for group in groups:
        own = [row for row in rows if row["group"] == group]
        if len(own) > 1:
            images = [str(row["id"]) for row in own]
            found["groups"][group] = _mean_intervals(own, images, resamples, seed)
    return found


def _mean_intervals(
    rows: Rows, units: Sequence[str], resamples: int, seed: int
) -> dict[str, list[float] | None]:
    """Return the interval of the mean of each score, see `cytoloop.evaluation.bootstrap`."""
    names = measured(rows)
    values = np.array([[row[name] for name in names] for row in rows], float)
    samples = resample_means(values, units, resamples, seed)
    found = {name: interval(samples[:, i]) for i, name in enumerate(names)}
    return _unmixed(rows, found)


def summarise_sizes(
    rows: Rows, limits: Sequence[float], unit: str, resamples: int, seed: int
) -> dict[str, Any] | None:
    """Return recall by object size, pooled, with intervals; None without true objects.

    Parameters
    ----------
    rows : sequence of mappings
        With the cells of `cytoloop.evaluation.size_recall.recall_by_size`.
    limits : sequence of float
        Of the quartiles.
    unit : str
        Of the limits.
    resamples, seed : int
    """
    if not limits:
        return None
    units, _ = units_of(rows)
    true, hit = (
        np.array([[row[f"{kind}_{name}"] for name in QUARTILES] for row in rows], float)
        for kind in ("true", "found")
    )
    drawn = resample_sums(np.hstack([hit, true]), units, resamples, seed)
    samples, drawn = np.split(drawn, 2, axis=1)
    shares = np.divide(samples, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
    several = len(set(units)) > 1
    quartiles = []
    for number, (objects, found) in enumerate(zip(true.sum(axis=0), hit.sum(axis=0), strict=True)):
        quartiles.append(
            {
                "from": limits[number],
                "to": limits[number + 1],
                "objects": int(objects),
                "found": int(found),
                "recall": float(found / objects) if objects else None,
                "interval": interval(shares[:, number]) if several else None,
            }
        )
    return {"unit": unit, "quartiles": quartiles}
