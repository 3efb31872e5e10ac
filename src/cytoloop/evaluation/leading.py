"""Which scores lead: those of objects, or those of voxels where every truth is a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cytoloop.evaluation.metrics import (
    MASKS,
    OBJECT_SCORE,
    VOXEL_SCORE,
    Metric,
    metrics_shown_in,
)


def is_of_masks(summary: Mapping[str, Any]) -> bool:
    """Return whether every truth is a mask, so that scores of voxels lead.

    The connected pieces of a mask need not be objects: those of vessels are not.
    """
    return bool(summary.get("truth_is_binary") == summary["scored"])


def main_scores(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scores that images are sorted by, the first one first."""
    semantic = "classes" in summary or is_of_masks(summary)
    return (VOXEL_SCORE,) if semantic else (OBJECT_SCORE, VOXEL_SCORE)


def leading_metrics(summary: Mapping[str, Any], place: str) -> list[Metric]:
    """Return the metrics with a column in the table of images of a place.

    Parameters
    ----------
    summary : mapping
        Of objects or masks.
    place : str
        `TERMINAL` or `REPORT`; both show the same metrics of masks.
    """
    shown = metrics_shown_in(MASKS if is_of_masks(summary) else place)
    return [metric for metric in shown if metric.name in summary["mean"]]
