"""Scores from counts: of one image, or of many images pooled by adding up their counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cytoloop.evaluation.counts import surfaces, voxels
from cytoloop.evaluation.counts.matching import THRESHOLDS, Matching, Overlaps
from cytoloop.evaluation.counts.voxels import overlap_scores

ERRORS = ("merges", "splits", "missed", "spurious")
INSTANCE_COUNTS = (
    *("n_truth", "n_predicted", "seg_sum", "iou_sum_50", "aji_shared", "aji_union"),
    *(f"tp_{100 * t:.0f}" for t in THRESHOLDS),
    *ERRORS,
)
"""What `instance_counts` returns."""
COUNTS = (*voxels.COUNTS, *surfaces.COUNTS, *INSTANCE_COUNTS)
"""What adds up over images; pooled scores are made of the sums."""


def instance_counts(matching: Matching) -> dict[str, float]:
    """Return what adds up over images: objects, matches, sums of IoU, errors."""
    shared, union = aji_counts(matching.overlaps)
    counts: dict[str, float] = {
        "n_truth": len(matching.overlaps.true_ids),
        "n_predicted": len(matching.overlaps.predicted_ids),
        "seg_sum": matching.seg_sum,
        "iou_sum_50": float(matching.overlaps.iou[matching.matched[0.5]].sum()),
        "aji_shared": shared,
        "aji_union": union,
    }
    counts |= {f"tp_{100 * t:.0f}": len(pairs) for t, pairs in matching.matched.items()}
    return counts | {name: getattr(matching, name) for name in ERRORS}


def aji_counts(found: Overlaps) -> tuple[int, int]:
    """Return the two sums of the aggregated Jaccard index (Kumar et al. 2017).

    Each true object takes the predicted one with the largest IoU (of equals the one that
    appears first); their shared voxels and their unions are added up, then to the unions the
    voxels of true objects without overlap and of predicted ones that nobody took.
    """
    true, predicted = found.pairs.T
    order = np.argsort(-found.iou, kind="stable")
    takers, first = np.unique(true[order], return_index=True)
    taken = order[first]
    shared = found.shared[taken]
    union = found.true_sizes[true[taken]] + found.predicted_sizes[predicted[taken]] - shared
    alone = found.true_sizes.sum() - found.true_sizes[takers].sum()
    used = np.unique(predicted[taken])
    unused = found.predicted_sizes.sum() - found.predicted_sizes[used].sum()
    return int(shared.sum()), int(union.sum() + alone + unused)


def instance_scores(counts: Mapping[str, float]) -> dict[str, float]:
    """Return instance scores.

    With TP matches at a threshold, FP = predicted - TP and FN = true - TP:
    F1 = 2 TP / (2 TP + FP + FN); AP = TP / (TP + FP + FN) (Data Science Bowl 2018, StarDist);
    mean AP over IoU .5 to .95; PQ = SQ RQ with SQ the mean IoU of the matches and RQ = F1 at .5
    (Kirillov et al. 2019); precision = TP / (TP + FP) and recall = TP / (TP + FN) at .5, NaN
    without predicted or true objects; SEG = mean over true objects of the IoU with the
    predicted object that covers more than half of it, else 0 (Cell Tracking Challenge); AJI see
    `aji_counts`; count error = predicted - true. Without true and predicted objects the image
    is right: 1. SEG without true objects is undefined: NaN.
    """
    n_true, n_predicted = counts["n_truth"], counts["n_predicted"]
    total = n_true + n_predicted
    by_iou = {point["iou"]: point for point in scores_by_iou(counts)}
    matches = counts["tp_50"]
    quality = counts["iou_sum_50"] / matches if matches else 0.0
    f1 = by_iou[0.5]["f1"]
    return {
        "f1_50": f1,
        "ap_50": by_iou[0.5]["ap"],
        "f1_75": by_iou[0.75]["f1"],
        "ap_75": by_iou[0.75]["ap"],
        "mean_ap": math.fsum(point["ap"] for point in by_iou.values()) / len(by_iou),
        "seg": counts["seg_sum"] / n_true if n_true else math.nan,
        "sq": quality if total else 1.0,
        "rq": f1,
        "pq": quality * f1 if total else 1.0,
        "aji": counts["aji_shared"] / counts["aji_union"] if counts["aji_union"] else 1.0,
        "count_error": n_predicted - n_true,
        "precision_50": matches / n_predicted if n_predicted else math.nan,
        "recall_50": matches / n_true if n_true else math.nan,
    }


def scores_by_iou(counts: Mapping[str, float]) -> list[dict[str, float]]:
    """Return TP, FP, FN, F1 and AP at each IoU from .5 to .95."""
    n_true, n_predicted = counts["n_truth"], counts["n_predicted"]
    total = n_true + n_predicted
    points = []
    for threshold in THRESHOLDS:
        matches = counts[f"tp_{100 * threshold:.0f}"]
        points.append(
            {
                "iou": threshold,
                "tp": matches,
                "fp": n_predicted - matches,
                "fn": n_true - matches,
                "f1": 2 * matches / total if total else 1.0,
                "ap": matches / (total - matches) if total else 1.0,
            }
        )
    return points


def added_counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the sums of `COUNTS` over images."""
    rows = list(rows)
    return {name: sum(row[name] for row in rows) for name in COUNTS}


def scores_of_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that counts determine: all but Hausdorff 95 and calibration."""
    return {
        **overlap_scores(counts),
        "surface_dice": surfaces.surface_dice(counts),
        **instance_scores(counts),
    }


def pooled_scores(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of all objects and voxels of many images taken together."""
    sums = added_counts(rows)
    counts = {name: sums[name] for name in (*ERRORS, "n_truth", "n_predicted")}
    return {**scores_of_counts(sums), **counts}
