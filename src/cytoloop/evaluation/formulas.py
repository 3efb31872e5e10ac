"""Formulas of the metrics, computed from the counts of one image.

The counts of an image are a mapping with these keys:

- voxels: `cytoloop.evaluation.counts.voxels.COUNTS`
- surfaces: `cytoloop.evaluation.counts.surfaces.COUNTS`, and ``surface_distance_95``
- objects: `cytoloop.evaluation.counts.objects.COUNTS`
- skeletons: `cytoloop.evaluation.counts.skeletons.COUNTS`
- probabilities: ``probability_histogram``, see `cytoloop.evaluation.counts.calibration`; None
  for an image without a probability map

Counts added up over images give pooled scores. They do not hold ``surface_distance_95`` and
``probability_histogram``. A formula returns NaN where the metric is undefined. Sources are in
docs/reference/evaluation.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cytoloop.evaluation.counts.calibration import calibration_error
from cytoloop.evaluation.counts.matching import IOU_THRESHOLDS
from cytoloop.evaluation.counts.objects import matches_name

Counts = Mapping[str, Any]


def _ratio(part: float, whole: float, empty: float = math.nan) -> float:
    return part / whole if whole else empty


def dice(counts: Counts) -> float:
    """Return 2 |T and P| / (|T| + |P|) of true (T) and predicted (P) voxels; 1 without any."""
    total = counts["voxels_true"] + counts["voxels_predicted"]
    return _ratio(2 * counts["voxels_both"], total, 1.0)


def iou(counts: Counts) -> float:
    """Return |T and P| / |T or P|; 1 without any."""
    union = counts["voxels_true"] + counts["voxels_predicted"] - counts["voxels_both"]
    return _ratio(counts["voxels_both"], union, 1.0)


def precision(counts: Counts) -> float:
    """Return |T and P| / |P|."""
    return _ratio(counts["voxels_both"], counts["voxels_predicted"])


def recall(counts: Counts) -> float:
    """Return |T and P| / |T|."""
    return _ratio(counts["voxels_both"], counts["voxels_true"])


def volume_error(counts: Counts) -> float:
    """Return (|P| - |T|) / |T|."""
    return _ratio(counts["voxels_predicted"] - counts["voxels_true"], counts["voxels_true"])


def surface_dice(counts: Counts) -> float:
    """Return the fraction of surface voxels within the tolerance of the other surface.

    Without any surface it is 1 where both masks are equal (always, for counts added up), else 0.
    """
    total = counts["surface_true"] + counts["surface_predicted"]
    is_equal = not math.isnan(counts.get("surface_distance_95", 0.0))
    return _ratio(counts["surface_near"], total, float(is_equal))


def hausdorff_95(counts: Counts) -> float:
    """Return the larger of the two 95th percentiles of distances between the surfaces."""
    return counts["surface_distance_95"]


def f1(counts: Counts, iou: float) -> float:
    """Return 2 TP / (2 TP + FP + FN) of objects that match at an IoU; 1 without objects."""
    total = counts["n_truth"] + counts["n_predicted"]
    return _ratio(2 * counts[matches_name(iou)], total, 1.0)


def average_precision(counts: Counts, iou: float) -> float:
    """Return TP / (TP + FP + FN) of objects that match at an IoU; 1 without objects."""
    matches = counts[matches_name(iou)]
    return _ratio(matches, counts["n_truth"] + counts["n_predicted"] - matches, 1.0)


def mean_ap(counts: Counts) -> float:
    """Return the mean of average precision over `IOU_THRESHOLDS`."""
    return math.fsum(average_precision(counts, t) for t in IOU_THRESHOLDS) / len(IOU_THRESHOLDS)


def object_precision(counts: Counts) -> float:
    """Return TP / (TP + FP) at IoU .5."""
    return _ratio(counts["tp_50"], counts["n_predicted"])


def object_recall(counts: Counts) -> float:
    """Return TP / (TP + FN) at IoU .5."""
    return _ratio(counts["tp_50"], counts["n_truth"])


def seg(counts: Counts) -> float:
    """Return the mean of SEG over true objects."""
    return _ratio(counts["seg_sum"], counts["n_truth"])


def segmentation_quality(counts: Counts) -> float:
    """Return the mean IoU of the matches at IoU .5; 0 without matches, 1 without objects."""
    total = counts["n_truth"] + counts["n_predicted"]
    return _ratio(counts["iou_sum_50"], counts["tp_50"], 0.0) if total else 1.0


def panoptic_quality(counts: Counts) -> float:
    """Return segmentation quality times F1 at IoU .5."""
    return segmentation_quality(counts) * f1(counts, 0.5)


def aji(counts: Counts) -> float:
    """Return the aggregated Jaccard index; 1 without objects."""
    return _ratio(counts["aji_shared"], counts["aji_union"], 1.0)


def count_error(counts: Counts) -> float:
    """Return predicted minus true objects."""
    return counts["n_predicted"] - counts["n_truth"]


def skeleton_recall(counts: Counts) -> float:
    """Return the fraction of the true skeleton inside the predicted mask."""
    return _ratio(counts["skeleton_true_found"], counts["skeleton_true"])


def skeleton_precision(counts: Counts) -> float:
    """Return the fraction of the predicted skeleton inside the true mask."""
    return _ratio(counts["skeleton_predicted_right"], counts["skeleton_predicted"])


def cldice(counts: Counts) -> float:
    """Return the harmonic mean of skeleton precision and recall; 0 without a prediction."""
    if not counts["skeleton_true"] or not counts["skeleton_predicted"]:
        return 0.0 if counts["skeleton_true"] else math.nan
    right, found = skeleton_precision(counts), skeleton_recall(counts)
    return _ratio(2 * right * found, right + found, 0.0)


def branch_error(counts: Counts) -> float:
    """Return predicted minus true branch points; undefined unless the truth is thin."""
    error = counts["branches_predicted"] - counts["branches_true"]
    return error if counts["skeleton_true"] else math.nan


def gaps(counts: Counts) -> float:
    """Return the number of gaps; undefined unless the truth is thin."""
    return counts["gaps"] if counts["skeleton_true"] else math.nan


def ece(counts: Counts) -> float:
    """Return the expected calibration error; undefined without a probability map."""
    histogram = counts["probability_histogram"]
    return math.nan if histogram is None else calibration_error(histogram)
