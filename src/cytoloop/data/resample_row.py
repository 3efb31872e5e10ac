"""The image and the target of a row at the voxel size of the training."""

from __future__ import annotations

import numpy as np

from cytoloop.intensity.resample import ResampledPixels, resampled_shape
from cytoloop.io.pixels import MemoryPixels, read_whole
from cytoloop.io.voxel_size import Spacing

RowArrays = tuple[np.ndarray, np.ndarray, np.ndarray, Spacing | None]
"""Image (C, [Z,] Y, X), labels and valid voxels ([Z,] Y, X), voxel size (Z, Y, X) in um."""


def resample_row(arrays: RowArrays, wanted_um: Spacing) -> RowArrays:
    """Return the arrays of a row at another voxel size.

    The image is resampled as prediction resamples it; labels and valid voxels take the value of
    the nearest voxel. Arrays stay as they are where the size is the wanted one, or unknown.

    Parameters
    ----------
    arrays : tuple
        As `cytoloop.data.cache_builder.read_row` returns them.
    wanted_um : tuple of float
        (Z, Y, X) in um.
    """
    image, labels, valid, spacing = arrays
    if spacing is None:
        return arrays
    shape = resampled_shape(labels.shape, spacing, wanted_um)
    if shape == labels.shape:
        return arrays
    pixels = ResampledPixels(MemoryPixels(image, spacing), shape)
    nearest = np.ix_(*(_nearest(old, new) for old, new in zip(labels.shape, shape, strict=True)))
    return read_whole(pixels), labels[nearest], valid[nearest], pixels.spacing_um


def _nearest(old: int, new: int) -> np.ndarray:
    """Return the old position that is nearest to each new one along an axis."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    return np.clip(np.rint(centres), 0, old - 1).astype(int)
