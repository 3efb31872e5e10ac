"""Result of scoring one image, and the cells of ``metrics.csv`` that all kinds of images share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.evaluation.counts.object_table import ObjectTable
from cytoloop.evaluation.inputs.images import THRESHOLD_COLUMN, UNKNOWN_COLUMN, prediction_column
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, format_spacing
from cytoloop.redact import without_secrets

_TRUE_FILES = ("seg1", "seg2", "merge_mask", "exclude_mask")
_PREDICTED_FILES = ("labels", "mask", "probability")
_CHOICES = ("base_image", "channel_seg1", "channel_seg2", "axes_seg1", "axes_seg2", "split")
_RAW_CHOICES = ("channel", "scene", "time", "plane", "axes")


@dataclass(frozen=True)
class ScoredImage:
    """Scores of one image.

    Attributes
    ----------
    prediction, true : Row
    row : dict
        Row of ``metrics.csv``: files, counts, scores.
    objects : (ObjectTable, ObjectTable) or None
        True and predicted objects; None for an image of classes.
    voxel_um3 : float or None
        Volume of a voxel in um3 (in 2D area in um2), None where unknown.
    histogram : ndarray of int or None
        See `cytoloop.evaluation.counts.calibration.probability_histogram`; None without a
        probability map.
    keys : tuple of tuple
        See `cytoloop.evaluation.scoring.conditions.identities`.
    """

    prediction: Row
    true: Row
    row: dict[str, Any]
    objects: tuple[ObjectTable, ObjectTable] | None = None
    voxel_um3: float | None = None
    histogram: np.ndarray | None = None
    keys: tuple[tuple, ...] = ()


def check_shape(where: str, found: np.ndarray, truth: np.ndarray) -> None:
    """Raise where an image has another shape than the truth.

    Raises
    ------
    ImageError
    """
    if found.shape != truth.shape:
        raise ImageError(
            where,
            f"shape {found.shape} but the truth is {truth.shape}",
            "Prediction, probability and truth must show the same image.",
        )


def prediction_file(prediction: Row) -> str:
    """Return the path of the predicted image, for messages."""
    return prediction.location(prediction_column(prediction) or UNKNOWN_COLUMN)


def manifest_cells(
    prediction: Row, true: Row, column: str, spacing: Spacing | None
) -> dict[str, Any]:
    """Return the cells that make a row of scores a row of a manifest.

    Scoring the manifest again reads the same truth and the same prediction in the same way.

    Parameters
    ----------
    prediction, true : Row
    column : str
        ``labels`` or ``mask``: what the prediction was read as.
    spacing : tuple of float or None
        (Z, Y, X) in um.
    """
    cells = {name: true.location(name) for name in _TRUE_FILES}
    cells |= {name: prediction.location(name) for name in _PREDICTED_FILES}
    if prediction[THRESHOLD_COLUMN]:
        cells[THRESHOLD_COLUMN] = prediction[THRESHOLD_COLUMN]
    else:
        cells[column] = cells[column] or prediction.location(UNKNOWN_COLUMN)
    cells |= {name: true[name] or prediction[name] for name in _CHOICES}
    cells |= {name: prediction[name] or true[name] for name in _RAW_CHOICES}
    cells["raw"] = prediction.location("raw") or true.location("raw")
    files = (*_TRUE_FILES, *_PREDICTED_FILES, "raw")
    cells |= {name: without_secrets(cells[name]) for name in files}
    return {
        "id": prediction.id,
        "group": true["group"] or prediction["group"],
        "run_id": prediction["run_id"],
        "unit": "voxel" if spacing is None else "um",
        **cells,
        "spacing_um": format_spacing(spacing),
    }
