"""Scores from counts: of one image, or of many images pooled by adding up their counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cytoloop.evaluation.matching import THRESHOLDS, Matching
from cytoloop.evaluation.overlap import COUNTS, overlap_scores

ERRORS = ("merges", "splits", "missed", "spurious")


def instance_counts(matching: Matching) -> dict[str, float]:
    """Return what adds up over images: objects, matches, sums of IoU, errors."""
    counts: dict[str, float] = {
        "n_truth": len(matching.overlaps.true_ids),
        "n_predicted": len(matching.overlaps.predicted_ids),
        "seg_sum": matching.seg_sum,
        "iou_sum_50": float(matching.overlaps.iou[matching.matched[0.5]].sum()),
    }
    counts |= {f"tp_{100 * t:.0f}": len(pairs) for t, pairs in matching.matched.items()}
    return counts | {name: getattr(matching, name) for name in ERRORS}


def instance_scores(counts: Mapping[str, float]) -> dict[str, float]:
    """Return instance scores.

    With TP matches at a threshold, FP = predicted - TP and FN = true - TP:
    F1 = 2 TP / (2 TP + FP + FN); AP = TP / (TP + FP + FN) (Data Science Bowl 2018, StarDist);
    mean AP over IoU .5 to .95; PQ = SQ RQ with SQ the mean IoU of the matches and RQ = F1 at .5
    (Kirillov et al. 2019); precision = TP / (TP + FP) and recall = TP / (TP + FN) at .5, NaN
    without predicted or true objects; SEG = mean over true objects of the IoU with the
    predicted object that covers more than half of it, else 0 (Cell Tracking Challenge); count
    error = predicted - true. Without true and predicted objects the image is right: 1. SEG
    without true objects is undefined: NaN.
    """
    n_true, n_predicted = counts["n_truth"], counts["n_predicted"]
    total = n_true + n_predicted
    scores: dict[str, float] = {}
    precisions = []
    for threshold in THRESHOLDS:
        matches = counts[f"tp_{100 * threshold:.0f}"]
        precisions.append(matches / (total - matches) if total else 1.0)
        if threshold in (0.5, 0.75):
            name = f"{100 * threshold:.0f}"
            scores[f"f1_{name}"] = 2 * matches / total if total else 1.0
            scores[f"ap_{name}"] = precisions[-1]
    matches = counts["tp_50"]
    quality = counts["iou_sum_50"] / matches if matches else 0.0
    return {
        **scores,
        "mean_ap": math.fsum(precisions) / len(precisions),
        "seg": counts["seg_sum"] / n_true if n_true else math.nan,
        "sq": quality if total else 1.0,
        "pq": quality * scores["f1_50"] if total else 1.0,
        "count_error": n_predicted - n_true,
        "precision_50": matches / n_predicted if n_predicted else math.nan,
        "recall_50": matches / n_true if n_true else math.nan,
    }


def pooled_scores(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of all objects and voxels of many images taken together."""
    rows = list(rows)
    names = [*COUNTS, *(n for n in rows[0] if n in _SUMMED or n.startswith("tp_"))]
    sums = {name: sum(row[name] for row in rows) for name in names}
    voxels = {name: int(sums[name]) for name in COUNTS}
    counts = {name: sums[name] for name in (*ERRORS, "n_truth", "n_predicted")}
    return {**overlap_scores(voxels), **instance_scores(sums), **counts}


_SUMMED = ("n_truth", "n_predicted", "seg_sum", "iou_sum_50", *ERRORS)
