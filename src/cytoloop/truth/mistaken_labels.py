"""Recognises masks that are inverted, and labels with an ignore value or a numbered background."""

from __future__ import annotations

import fastremap
import numpy as np

_BORDER = 0.75
"""Fraction of the image border that an inverted mask covers at least."""
_LIMITS_OF_TYPES = (255, 65535, 2**32 - 1)


def looks_inverted(labels: np.ndarray) -> bool:
    """Return whether a mask covers the border and encloses separate pieces of background.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    """
    from scipy import ndimage

    inside = labels > 0
    if int(np.count_nonzero(fastremap.unique(labels))) != 1 or inside.mean() <= 0.5:
        return False
    plane = inside if inside.ndim == 2 else inside[len(inside) // 2]
    return bool(_covers_border(inside) and ndimage.label(~plane)[1] >= 2)


def background_number(labels: np.ndarray) -> int | None:
    """Return the label that seems to be the background where nothing is 0; None if none is.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.
    """
    if not labels.all():
        return None
    values, counts = fastremap.unique(labels, return_counts=True)
    largest = int(values[np.argmax(counts)])
    is_large = len(values) > 1 and 2 * int(counts.max()) > labels.size
    return largest if is_large and _covers_border(labels == largest) else None


def _covers_border(inside: np.ndarray) -> bool:
    """Return whether a mask covers most of the border of the image or of its middle plane."""
    plane = inside if inside.ndim == 2 else inside[len(inside) // 2]
    border = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
    return bool(border.mean() >= _BORDER)


def fraction_of_ignore_value(labels: np.ndarray) -> float:
    """Return the fraction of voxels with 255 (or the like), if the other labels are small.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.
    """
    top = int(labels.max())
    others = labels[(labels > 0) & (labels < top)]
    if top not in _LIMITS_OF_TYPES or not others.size or int(others.max()) > top // 2:
        return 0.0
    return float(np.mean(labels == top))


def suspicion(labels: np.ndarray) -> str | None:
    """Return what looks wrong with labels that can be scored; None if nothing does.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    """
    if not labels.any():
        return None
    if looks_inverted(labels):
        return "looks inverted: it covers the border and encloses pieces of background"
    if number := background_number(labels):
        return f"has no 0: label {number} seems to be the background; subtract it, or set it to 0"
    if fraction := fraction_of_ignore_value(labels):
        top = int(labels.max())
        return (
            f"holds {top} in {fraction:.0%} of its voxels, the largest value of the file type: "
            f"ignore_label={top} excludes them"
        )
    return None
