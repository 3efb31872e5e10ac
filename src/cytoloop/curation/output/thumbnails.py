"""Thumbnails: an image beside its segmentation, as pictures for an HTML page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.html import data_uri
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_raw, read_target

EDGE = 288
"""Longest edge of a picture in pixels."""

_LABEL_COLOUR = (90, 220, 120)
_PREDICTED_COLOUR = (255, 80, 220)
_EXCLUDED_COLOUR = (255, 150, 40)


def thumbnail(row: Row, predicted: Path | None = None) -> str:
    """Return two pictures side by side, as a ``data:`` URI.

    The left one is the raw image; of a stack, its maximum along z. The right one is the raw image
    with the outlines of objects (green) and predicted objects (magenta) and the excluded region
    (orange); of a stack, it is the plane with the most object pixels.

    Parameters
    ----------
    row : Row
        With its masks filled in.
    predicted : Path, optional
        Labels that a model predicted.

    Raises
    ------
    ImageError, ManifestError
        Files cannot be read, or image and segmentation have different shapes.
    """
    from PIL import Image

    raw = read_raw(row)
    plane = raw.data[0]
    labels, valid = read_target(row)
    if labels.shape != plane.shape:
        raise ImageError(row.id, f"shape {labels.shape} of the labels but raw is {plane.shape}")
    found = read_labels(predicted) if predicted else None
    projection = plane
    if plane.ndim == 3:
        z = int(np.argmax(np.count_nonzero(labels, axis=(1, 2))))
        projection, plane = plane.max(axis=0), plane[z]
        labels, valid = labels[z], valid[z]
        found = found[z] if found is not None and found.ndim == 3 else found
    right = _rgb(plane)
    excluded = _resize_nearest(~valid)
    right[excluded] = 0.55 * right[excluded] + 0.45 * np.array(_EXCLUDED_COLOUR)
    for objects, colour in ((labels, _LABEL_COLOUR), (found, _PREDICTED_COLOUR)):
        if objects is not None and objects.shape == valid.shape:
            right[_outline(_resize_nearest(objects))] = colour
    left = _rgb(projection)
    gap = np.full((left.shape[0], 4, 3), 255, np.uint8)
    buffer = io.BytesIO()
    picture = np.concatenate([left, gap, right], axis=1)
    Image.fromarray(picture).save(buffer, "WEBP", quality=82, method=4)
    return data_uri(buffer.getvalue(), "image/webp")


def _rgb(plane: np.ndarray) -> np.ndarray:
    """Return a picture (Y, X, 3) uint8: resized, percentiles 0.5 to 99.8 as 0 to 255."""
    from PIL import Image

    low, high = np.percentile(plane, (0.5, 99.8))
    scaled = np.clip((plane.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1) ** 0.7
    size = _size(plane)
    small = Image.fromarray(np.round(scaled * 255).astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.BOX
    )
    return np.repeat(np.asarray(small)[..., None], 3, axis=2)


def _resize_nearest(plane: np.ndarray) -> np.ndarray:
    """Return labels or a mask (Y, X) resized to the picture, by nearest neighbour."""
    y, x = (
        np.minimum((np.arange(size) + 0.5) * n / size, n - 1).astype(int)
        for size, n in zip(_size(plane), plane.shape, strict=True)
    )
    return plane[np.ix_(y, x)]


def _size(plane: np.ndarray) -> tuple[int, int]:
    """Return the size (Y, X) of the picture of a plane, whose longest edge is `EDGE`."""
    factor = EDGE / max(plane.shape)
    y, x = (max(round(n * factor), 1) for n in plane.shape)
    return y, x


def _outline(labels: np.ndarray) -> np.ndarray:
    """Return the pixels of objects that touch another label or background, (Y, X) bool."""
    edges = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        moved = np.moveaxis(labels, axis, 0)
        marked = np.moveaxis(edges, axis, 0)
        differs = moved[1:] != moved[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
    return edges & (labels > 0)
