"""Thumbnails: an image with the outlines of what was drawn in it, small enough for a page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from cytoloop.io.html import data_uri
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_target, row_file

EDGE = 288
"""Largest edge of a picture, in pixels."""

_LABELS = (90, 220, 120)
_PREDICTED = (255, 80, 220)
_EXCLUDED = (255, 150, 40)


def thumbnail(row: Row, predicted: Path | None = None) -> str:
    """Return two pictures side by side, as a ``data:`` URI.

    Left the raw image, of a stack the maximum along z; right the same, of a stack the plane with
    the most objects in it, with the outlines of the objects (green) and of what was predicted
    (magenta), and with the excluded region shaded (orange).

    Parameters
    ----------
    row : Row
        With its masks filled in.
    predicted : Path, optional
        Labels that a model predicted.

    Raises
    ------
    ImageError, ManifestError
        Files that cannot be read.
    """
    from PIL import Image

    raw = read_image(row_file(row, "raw"), row["channel"] or None, row["scene"] or None, row.time)
    plane = raw.data[0]
    labels, valid = read_target(row)
    guess = read_labels(predicted) if predicted else None
    whole = plane
    if plane.ndim == 3:
        z = int(np.argmax(np.count_nonzero(labels, axis=(1, 2))))
        whole, plane = plane.max(axis=0), plane[z]
        labels, valid = labels[z], valid[z]
        guess = guess[z] if guess is not None and guess.ndim == 3 else guess
    right = _rgb(plane)
    hidden = _small(~valid)
    right[hidden] = 0.55 * right[hidden] + 0.45 * np.array(_EXCLUDED)
    for found, colour in ((labels, _LABELS), (guess, _PREDICTED)):
        if found is not None and found.shape == valid.shape:
            right[_outline(_small(found))] = colour
    left = _rgb(whole)
    gap = np.full((left.shape[0], 4, 3), 255, np.uint8)
    buffer = io.BytesIO()
    picture = np.concatenate([left, gap, right], axis=1)
    Image.fromarray(picture).save(buffer, "WEBP", quality=82, method=4)
    return data_uri(buffer.getvalue(), "image/webp")


def _rgb(plane: np.ndarray) -> np.ndarray:
    """Return a picture stretched between its percentiles, (Y, X, 3) uint8, reduced."""
    from PIL import Image

    low, high = np.percentile(plane, (0.5, 99.8))
    scaled = np.clip((plane.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1) ** 0.7
    size = _size(plane)
    small = Image.fromarray(np.round(scaled * 255).astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.BOX
    )
    return np.repeat(np.asarray(small)[..., None], 3, axis=2)


def _small(plane: np.ndarray) -> np.ndarray:
    """Return labels or a mask at the size of the picture, without new values."""
    y, x = (
        np.minimum((np.arange(size) + 0.5) * n / size, n - 1).astype(int)
        for size, n in zip(_size(plane), plane.shape, strict=True)
    )
    return plane[np.ix_(y, x)]


def _size(plane: np.ndarray) -> tuple[int, int]:
    """Return the size of the picture: small images are enlarged, large ones reduced."""
    factor = EDGE / max(plane.shape)
    y, x = (max(round(n * factor), 1) for n in plane.shape)
    return y, x


def _outline(labels: np.ndarray) -> np.ndarray:
    """Return the pixels of objects that touch another value."""
    edges = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        moved = np.moveaxis(labels, axis, 0)
        marked = np.moveaxis(edges, axis, 0)
        differs = moved[1:] != moved[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
    return edges & (labels > 0)
