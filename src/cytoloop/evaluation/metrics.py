"""Registry of metrics: one entry each, which all tables, reports, comparisons and logs follow.

To add a metric, add an entry to `METRICS` and a line to docs/reference/evaluation.md. See
`cytoloop.evaluation.formulas` for the counts that a formula can use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from cytoloop.evaluation import formulas
from cytoloop.evaluation.formulas import Counts

SEMANTIC, SURFACE, INSTANCE, PROBABILITY = "semantic", "surface", "instance", "probability"
SKELETON = "skeleton"
"""Groups of metrics. Values of the group ``surface`` depend on the voxel size; those of the group
``skeleton`` are defined for masks of thin structures."""

HIGHER, LOWER, NEAR_ZERO = "higher", "lower", "near zero"
"""Which values are better."""

LENGTH = "length"
"""Unit of a metric: um, or voxels where the voxel size is unknown."""

TERMINAL, REPORT, TRAINING, MASKS = "terminal", "report", "training", "masks"
"""Places with room for some metrics only: columns of the terminal table, columns of the report's
table of images, scores logged as ``val/NAME`` while a model is trained, and columns of both tables
where every truth is a mask, whose pieces are not objects."""

OBJECT_SCORE, VOXEL_SCORE = "f1_50", "dice"
"""Main metrics of objects, and of masks and classes: a comparison rests on one of them, and images
are sorted by them."""

Value = TypeVar("Value", float, np.ndarray)


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its formula, and where it is shown.

    Attributes
    ----------
    name : str
        Column of ``metrics.csv``, key in ``summary.json``, ``NAME`` of ``test/NAME`` in MLflow.
    label : str
        Heading in tables and reports.
    group : str
        `SEMANTIC`, `SURFACE`, `INSTANCE`, `SKELETON` or `PROBABILITY`.
    score : callable
        Counts to value; NaN where the metric is undefined.
    description : str
        One line of documentation, shown in the report.
    better : str
        `HIGHER`, `LOWER` or `NEAR_ZERO`.
    unit : str
        "" or `LENGTH`.
    pooled : bool
        Has a pooled value: `score` of the counts added up over images. All metrics are averaged.
    per_class : bool
        Is computed for each class where images hold classes; `SEMANTIC` and `SURFACE` only, since
        classes have no counts of objects.
    shown_in : tuple of str
        Some of `TERMINAL`, `REPORT`, `TRAINING`, `MASKS`.
    """

    name: str
    label: str
    group: str
    score: Callable[[Counts], float]
    description: str
    better: str = HIGHER
    unit: str = ""
    pooled: bool = True
    per_class: bool = False
    shown_in: tuple[str, ...] = ()

    def oriented(self, value: Value) -> Value:
        """Return a value (or an array of values) turned so that higher is better.

        Examples
        --------
        >>> METRICS["hd95"].oriented(2.0), METRICS["count_error"].oriented(-3.0)
        (-2.0, -3.0)
        """
        if self.better == NEAR_ZERO:
            return -abs(value)
        return -value if self.better == LOWER else value

    def heading(self, unit: str) -> str:
        """Return the label, for a length with its unit (``um``, ``voxel``, or ``mixed``: none)."""
        return f"{self.label} ({unit})" if self.unit == LENGTH and unit != "mixed" else self.label


_ENTRIES = (
    Metric(
        "dice",
        "Dice",
        SEMANTIC,
        formulas.dice,
        "2 |T and P| / (|T| + |P|) of true (T) and predicted (P) voxels",
        per_class=True,
        shown_in=(TERMINAL, REPORT, TRAINING, MASKS),
    ),
    Metric(
        "iou",
        "IoU",
        SEMANTIC,
        formulas.iou,
        "|T and P| / |T or P|",
        per_class=True,
        shown_in=(TRAINING, MASKS),
    ),
    Metric(
        "precision",
        "precision",
        SEMANTIC,
        formulas.precision,
        "|T and P| / |P|; undefined without predicted voxels",
        per_class=True,
        shown_in=(MASKS,),
    ),
    Metric(
        "recall",
        "recall",
        SEMANTIC,
        formulas.recall,
        "|T and P| / |T|; undefined without true voxels",
        per_class=True,
        shown_in=(MASKS,),
    ),
    Metric(
        "surface_dice",
        "surface Dice",
        SURFACE,
        formulas.surface_dice,
        "fraction of surface voxels within the tolerance of the other surface",
        per_class=True,
        shown_in=(REPORT, MASKS),
    ),
    Metric(
        "hd95",
        "HD95",
        SURFACE,
        formulas.hausdorff_95,
        "larger of the two 95th percentiles of distances between the surfaces",
        better=LOWER,
        unit=LENGTH,
        pooled=False,
        per_class=True,
        shown_in=(REPORT,),
    ),
    Metric(
        "volume_error",
        "volume error",
        SEMANTIC,
        formulas.volume_error,
        "(|P| - |T|) / |T|; undefined without true voxels",
        better=NEAR_ZERO,
    ),
    Metric(
        "cldice",
        "clDice",
        SKELETON,
        formulas.cldice,
        "harmonic mean of skeleton precision and recall; of thin structures",
        shown_in=(MASKS,),
    ),
    Metric(
        "skeleton_precision",
        "skeleton precision",
        SKELETON,
        formulas.skeleton_precision,
        "fraction of the predicted skeleton inside the true mask",
    ),
    Metric(
        "skeleton_recall",
        "skeleton recall",
        SKELETON,
        formulas.skeleton_recall,
        "fraction of the true skeleton inside the predicted mask",
    ),
    Metric(
        "gaps",
        "gaps",
        SKELETON,
        formulas.gaps,
        "missed pieces of the true skeleton that interrupt a found line",
        better=LOWER,
        shown_in=(MASKS,),
    ),
    Metric(
        "branch_error",
        "branch error",
        SKELETON,
        formulas.branch_error,
        "predicted minus true branch points of the skeletons",
        better=NEAR_ZERO,
    ),
    Metric(
        "f1_50",
        "F1@.5",
        INSTANCE,
        partial(formulas.f1, iou=0.5),
        "2 TP / (2 TP + FP + FN) of objects that match at IoU .5",
        shown_in=(TERMINAL, REPORT, TRAINING),
    ),
    Metric(
        "ap_50",
        "AP@.5",
        INSTANCE,
        partial(formulas.average_precision, iou=0.5),
        "TP / (TP + FP + FN) at IoU .5",
        shown_in=(TERMINAL, TRAINING),
    ),
    Metric("f1_75", "F1@.75", INSTANCE, partial(formulas.f1, iou=0.75), "F1 at IoU .75"),
    Metric(
        "ap_75", "AP@.75", INSTANCE, partial(formulas.average_precision, iou=0.75), "AP at IoU .75"
    ),
    Metric(
        "mean_ap",
        "mAP",
        INSTANCE,
        formulas.mean_ap,
        "mean of AP at IoU .5, .55 ... .95",
        shown_in=(TERMINAL, REPORT),
    ),
    Metric(
        "seg",
        "SEG",
        INSTANCE,
        formulas.seg,
        "mean IoU of true objects with the predicted object that covers more than half of them",
        shown_in=(TERMINAL, REPORT, TRAINING),
    ),
    Metric(
        "sq", "SQ", INSTANCE, formulas.segmentation_quality, "mean IoU of the matches at IoU .5"
    ),
    Metric("rq", "RQ", INSTANCE, partial(formulas.f1, iou=0.5), "F1 at IoU .5"),
    Metric(
        "pq",
        "PQ",
        INSTANCE,
        formulas.panoptic_quality,
        "panoptic quality: SQ times RQ",
        shown_in=(TRAINING,),
    ),
    Metric(
        "aji",
        "AJI",
        INSTANCE,
        formulas.aji,
        "aggregated Jaccard index: shared voxels of best partners / their unions",
    ),
    Metric(
        "count_error",
        "count error",
        INSTANCE,
        formulas.count_error,
        "predicted objects minus true objects",
        better=NEAR_ZERO,
    ),
    Metric(
        "precision_50",
        "precision@.5",
        INSTANCE,
        formulas.object_precision,
        "TP / (TP + FP) at IoU .5; undefined without predicted objects",
    ),
    Metric(
        "recall_50",
        "recall@.5",
        INSTANCE,
        formulas.object_recall,
        "TP / (TP + FN) at IoU .5; undefined without true objects",
    ),
    Metric(
        "ece",
        "ECE",
        PROBABILITY,
        formulas.ece,
        "expected calibration error of the probability of foreground",
        better=LOWER,
        pooled=False,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ENTRIES}
"""All metrics by name, in the order of the columns of ``metrics.csv``."""


def metrics_shown_in(place: str) -> list[Metric]:
    """Return the metrics that one of the places `TERMINAL`, `REPORT`, `TRAINING`, `MASKS` shows."""
    return [metric for metric in METRICS.values() if place in metric.shown_in]


def score_columns(classes: Sequence[str] = ()) -> dict[str, Metric]:
    """Return the metric behind each score column of ``metrics.csv``.

    Parameters
    ----------
    classes : sequence of str
        Names of classes. For each class there is a column ``NAME_CLASS``; the column ``NAME``
        holds the mean over the classes of an image. Without classes: one column a metric.
    """
    if not classes:
        return dict(METRICS)
    metrics = [metric for metric in METRICS.values() if metric.per_class]
    columns = {metric.name: metric for metric in metrics}
    return columns | {f"{one.name}_{name}": one for name in classes for one in metrics}


def compute_scores(counts: Counts, metrics: Iterable[Metric]) -> dict[str, float]:
    """Return the value of each metric by name."""
    return {metric.name: metric.score(counts) for metric in metrics}


def instance_scores(counts: Counts) -> dict[str, float]:
    """Return the values of the metrics of objects from counts of objects."""
    return compute_scores(counts, [m for m in METRICS.values() if m.group == INSTANCE])


def label_of(column: str) -> str:
    """Return the heading of a score column; without an entry of its own the column's name."""
    return METRICS[column].label if column in METRICS else column


def mean_of_defined(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    defined = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
