"""Counts of the objects of one image: matches, sums of IoU, errors."""

from __future__ import annotations

import numpy as np

from cytoloop.evaluation.counts.matching import IOU_THRESHOLDS, Matching, Overlaps

ERRORS = ("merges", "splits", "missed", "spurious")


def matches_name(iou: float) -> str:
    """Return the name of the count of matches at an IoU.

    >>> matches_name(0.5)
    'tp_50'
    """
    return f"tp_{100 * iou:.0f}"


COUNTS = (
    *("n_truth", "n_predicted", "seg_sum", "iou_sum_50", "aji_shared", "aji_union"),
    *map(matches_name, IOU_THRESHOLDS),
    *ERRORS,
)
"""Names of the counts that `instance_counts` returns."""


def instance_counts(matching: Matching) -> dict[str, float]:
    """Return counts of objects: `COUNTS`.

    They are true and predicted objects, the sum of SEG over true objects, the sum of the IoU of
    matches at .5, the two sums of AJI, matches at each of `IOU_THRESHOLDS`, and `ERRORS`.
    """
    overlaps = matching.overlaps
    shared, union = aji_counts(overlaps)
    counts: dict[str, float] = {
        "n_truth": len(overlaps.true_ids),
        "n_predicted": len(overlaps.predicted_ids),
        "seg_sum": matching.seg_sum,
        "iou_sum_50": float(overlaps.iou[matching.matched[0.5]].sum()),
        "aji_shared": shared,
        "aji_union": union,
    }
    counts |= {matches_name(iou): len(pairs) for iou, pairs in matching.matched.items()}
    return counts | {name: getattr(matching, name) for name in ERRORS}


def aji_counts(overlaps: Overlaps) -> tuple[int, int]:
    """Return the two sums of the aggregated Jaccard index, AJI = shared / union.

    Each true object takes the predicted object with the largest IoU (of equal ones the first).
    ``shared`` adds up their shared voxels, ``union`` their unions. ``union`` also holds the voxels
    of true objects without overlap, and of predicted objects that no true object took (Kumar et
    al. 2017).
    """
    true, predicted = overlaps.pairs.T
    order = np.argsort(-overlaps.iou, kind="stable")
    overlapping, first = np.unique(true[order], return_index=True)
    best = order[first]
    shared = overlaps.shared[best]
    union = overlaps.true_sizes[true[best]] + overlaps.predicted_sizes[predicted[best]] - shared
    without_overlap = overlaps.true_sizes.sum() - overlaps.true_sizes[overlapping].sum()
    taken = np.unique(predicted[best])
    not_taken = overlaps.predicted_sizes.sum() - overlaps.predicted_sizes[taken].sum()
    return int(shared.sum()), int(union.sum() + without_overlap + not_taken)
