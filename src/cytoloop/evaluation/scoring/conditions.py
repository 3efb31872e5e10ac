"""What a score depends on besides the prediction: settings, truth, and the version of the scores.

It is kept with each row of ``metrics.csv``, so that scores which cannot be compared are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.evaluation.settings import EvaluationSettings
from cytoloop.manifest import Row

SCORE_VERSION = 1
"""Raise it where the same prediction and truth get other scores than before."""

SETTINGS = ("tolerance", "predictions_are", "threshold", "score_version")
"""Columns of ``metrics.csv`` with settings: equal in all rows of an evaluation."""

TRUTH_COLUMN = "truth_sha256"
"""Column with the digest of the true objects and of the voxels that count."""

DUPLICATE_COLUMN = "duplicate_of"
"""Column with the id of the row that shows the same image; empty for most rows."""


def setting_cells(settings: EvaluationSettings) -> dict[str, Any]:
    """Return the cells of `SETTINGS`; an empty threshold has no effect."""
    by_threshold = settings.predictions_are == "probability"
    return {
        "tolerance": settings.tolerance_um,
        "predictions_are": settings.predictions_are,
        "threshold": settings.threshold if by_threshold else "",
        "score_version": SCORE_VERSION,
    }


def truth_cell(truth: np.ndarray, valid: np.ndarray) -> dict[str, str]:
    """Return the cell of `TRUTH_COLUMN`.

    Parameters
    ----------
    truth : ndarray of unsigned integers
        ([Z,] Y, X).
    valid : ndarray of bool
        Same shape; False = excluded.
    """
    digest = hashlib.sha256(repr(truth.shape).encode())
    for plane, counted in zip(truth, valid, strict=True):
        digest.update(np.where(counted, plane, 0).astype("<u8").tobytes())
        digest.update(np.packbits(counted).tobytes())
    return {TRUTH_COLUMN: f"sha256:{digest.hexdigest()}"}


def pixel_digest(labels: np.ndarray) -> str:
    """Return a digest of labels ([Z,] Y, X) that does not depend on their dtype."""
    digest = hashlib.sha256(repr(labels.shape).encode())
    for plane in labels:
        digest.update(plane.astype("<u8").tobytes())
    return digest.hexdigest()


def identities(prediction: Row, true: Row, row: Mapping[str, Any], pixels: str) -> list[tuple]:
    """Return keys of an image; two rows with a common key show the same image.

    The key is the content of the raw image, its scene and time point, and the truth. Where the
    tables do not hold the content, it is the path of the raw image; or the pixels of truth and
    prediction, unless the truth is blank: blank frames of a movie are different images.

    Parameters
    ----------
    prediction, true : Row
    row : mapping
        Its row of ``metrics.csv``.
    pixels : str
        Digest of the predicted pixels.
    """
    place = [row.get(name) or "" for name in ("channel", "scene", "time", "plane")]
    if content := prediction["input_sha256"] or true["sha256"]:
        return [("content", content, *place, row[TRUTH_COLUMN])]
    keys: list[tuple] = []
    if file := row.get("raw"):
        keys.append(("file", file, *place, row[TRUTH_COLUMN]))
    if row["voxels_true"]:
        keys.append(("pixels", row[TRUTH_COLUMN], pixels))
    return keys


def mark_duplicates(rows: Sequence[dict[str, Any]], keys: Sequence[Sequence[tuple]]) -> list[str]:
    """Fill `DUPLICATE_COLUMN` of rows that show the image of an earlier row; return their ids.

    Parameters
    ----------
    rows : sequence of dict
        Rows of ``metrics.csv``.
    keys : sequence of sequence of tuple
        Of each row, see `identities`.
    """
    first: dict[tuple, str] = {}
    found = []
    for row, own in zip(rows, keys, strict=True):
        earlier = next((first[key] for key in own if key in first), "")
        row[DUPLICATE_COLUMN] = earlier
        if earlier:
            found.append(str(row["id"]))
        for key in own:
            first.setdefault(key, earlier or str(row["id"]))
    return found
