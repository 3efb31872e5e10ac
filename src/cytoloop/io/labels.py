"""Read label images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.read import read_plane_or_stack


def read_labels(
    path: str | Path,
    channel: str | int | None = None,
    scene: str | int | None = None,
    time: int | None = None,
    axes: str | None = None,
    ignore: Sequence[int] = (),
    plane: int | None = None,
) -> np.ndarray:
    """Return the labels of one channel of an image.

    Parameters
    ----------
    path, channel, scene, time, axes, plane
        See `cytoloop.io.read.read_plane_or_stack`: what the file has several of must be named.
    ignore : sequence of int
        Values of voxels that nobody labelled, which may be negative. They become background.

    Returns
    -------
    ndarray
        (Z, Y, X) or (Y, X), unsigned integer; 0 is background.

    Raises
    ------
    ImageError
        The image cannot be read, or holds negative or fractional values.
    """
    return as_labels(path, read_plane_or_stack(path, channel, scene, time, axes, plane), ignore)


def as_labels(path: str | Path, labels: np.ndarray, ignore: Sequence[int] = ()) -> np.ndarray:
    """Return pixels as unsigned labels, see `read_labels`; `path` is for the error message."""
    if len(ignore):
        labels = np.where(np.isin(labels, ignore), labels.dtype.type(0), labels)
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.round(labels))).all():
        raise ImageError(
            str(path),
            "holds fractions, infinity or NaN, expected whole numbers (0 = background)",
            "Is this a probability map? Threshold it first.",
        )
    if labels.dtype.kind in "if":
        if labels.size and labels.min() < 0:
            raise ImageError(
                str(path),
                f"holds negative labels (down to {labels.min():g})",
                f"If {labels.min():g} marks voxels that nobody labelled, set "
                f"ignore_label={labels.min():g}. Labels start at 0.",
            )
        is_large = labels.size and labels.max() >= 2**32
        return labels.astype(np.uint64 if is_large else np.uint32)
    return labels
