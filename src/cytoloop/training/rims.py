"""Whether objects are bright at their rims (membrane stain, phase contrast) or inside (nuclei)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_OBJECTS = 100
"""Objects of an image that are looked at, spread over their numbers."""
_RIM, _CORE = 1.5, 0.6
"""The rim is this many pixels deep; the core is deeper than this fraction of the largest depth."""
_SMALLEST_DEPTH = 3.0
"""Pixels; in thinner objects, rim and core cannot be told apart."""
_OUTSIDE = (3.0, 5.0)
"""Pixels from the object to the background beside it."""
_DARK = 5
"""Percentile of the grey levels that stands for a background, where objects leave none."""


def count_bright_rims(raw: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """Return how many objects have a bright rim, and how many were looked at.

    A rim is bright if its median is above that of the background beside the object, and the median
    of the object's core is nearer to the background than to the rim, in every channel. Each object
    is looked at in its largest plane.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X).
    labels : ndarray of int
        ([Z,] Y, X), 0 is background.
    """
    stack, numbers = (raw, labels) if labels.ndim == 3 else (raw[:, None], labels[None])
    boxes = [(n, box) for n, box in enumerate(ndimage.find_objects(numbers), 1) if box is not None]
    places = np.unique(np.linspace(0, len(boxes) - 1, min(_OBJECTS, len(boxes))).astype(int))
    bright = seen = 0
    for place in places:
        number, (planes, rows, columns) = boxes[place]
        areas = np.count_nonzero(numbers[planes, rows, columns] == number, axis=(1, 2))
        margin = int(_OUTSIDE[1]) + 1
        window = tuple(
            slice(max(side.start - margin, 0), side.stop + margin) for side in (rows, columns)
        )
        plane = planes.start + int(areas.argmax())
        found = _has_bright_rim(
            stack[(slice(None), plane, *window)], numbers[(plane, *window)], number
        )
        bright, seen = bright + (found is True), seen + (found is not None)
    return bright, seen


def _has_bright_rim(raw: np.ndarray, labels: np.ndarray, number: int) -> bool | None:
    """Return whether an object (C, Y, X) has a bright rim; None where it is too thin to tell."""
    inside = np.pad(labels == number, 1)
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    if depth.max() < _SMALLEST_DEPTH:
        return None
    away = ndimage.distance_transform_edt(labels != number)
    rim, core = (depth > 0) & (depth <= _RIM), depth > _CORE * depth.max()
    beside = (away > _OUTSIDE[0]) & (away <= _OUTSIDE[1]) & (labels == 0)
    for channel in raw:
        high = np.median(channel[rim])
        low = np.median(channel[beside]) if beside.any() else np.percentile(channel, _DARK)
        if high <= low or np.median(channel[core]) >= (high + low) / 2:
            return False
    return True
