"""Where each voxel of a patch comes from, and how image, labels and validity are taken there.

A patch is sampled from the whole image, not from a patch cut before: what turns into view was
there, and only what lies outside the image is unknown (and gets weight 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional


@dataclass
class Warp:
    """A random change of place, drawn before anything is read.

    Attributes
    ----------
    ndim : int
        2 or 3.
    planar : bool
        Only Y and X are resampled: a 2D image, or a stack too anisotropic to be tilted.
    spacing : ndarray
        (Z, Y, X) or (Y, X), any unit: rotations are those of the specimen.
    matrix : ndarray or None
        From offsets (in voxels, from the patch's centre) in the patch to those in the image, over
        the axes that are resampled; None = as it is.
    bends : list of ndarray
        Displacements of an elastic change, (axes, *points of a coarse grid), as shares of the
        patch's size.
    turns : int
        Quarter turns in the plane.
    flips : list of int
        Mirrored axes.
    """

    ndim: int
    planar: bool
    spacing: np.ndarray
    matrix: np.ndarray | None = None
    bends: list[np.ndarray] = field(default_factory=list)
    turns: int = 0
    flips: list[int] = field(default_factory=list)

    @property
    def axes(self) -> int:
        """How many of the last axes are resampled."""
        return 2 if self.planar else 3

    def multiply(self, matrix: np.ndarray) -> None:
        """Put a linear change behind those drawn so far."""
        self.matrix = matrix if self.matrix is None else self.matrix @ matrix

    @property
    def is_exact(self) -> bool:
        """Tell whether voxels are moved only, not interpolated."""
        return self.matrix is None and not self.bends

    def source_size(self, size: Sequence[int]) -> list[int]:
        """Return the patch's size before quarter turns."""
        out = list(size)
        if self.turns % 2:
            out[-1], out[-2] = out[-2], out[-1]
        return out

    def finish(self, patch: np.ndarray) -> np.ndarray:
        """Turn and mirror a patch, (..., [Z,] Y, X); what is returned is a view of it."""
        if self.turns % 4:
            patch = np.rot90(patch, self.turns, (-2, -1))
        if self.flips:
            patch = np.flip(patch, tuple(axis - self.ndim for axis in self.flips))
        return patch

    def offsets(self, size: Sequence[int]) -> np.ndarray:
        """Return where each voxel comes from, seen from the patch's centre.

        Parameters
        ----------
        size : sequence of int
            [Z,] Y, X of the patch, before quarter turns.

        Returns
        -------
        ndarray of float32
            (axes, *size of the resampled axes), in voxels.
        """
        size = list(size)[-self.axes :]
        ranges = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in size]
        grid = np.stack(np.meshgrid(*ranges, indexing="ij"))
        for bend in self.bends:
            grid += _interpolated(bend, size)
        if self.matrix is not None:
            grid = np.tensordot(self.matrix.astype(np.float32), grid, axes=1)
        return np.asarray(grid, np.float32)


def place(offsets: np.ndarray, centre: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return a centre moved by as little as keeps all offsets inside an image.

    An axis along which the offsets reach farther than the image is centred.

    Parameters
    ----------
    offsets : ndarray
        (axes, ...), in voxels.
    centre : ndarray
        (axes,), in voxels.
    shape : sequence of int
        Of the image along these axes.
    """
    flat = offsets.reshape(len(offsets), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    first, last = -low, np.asarray(shape) - 1 - high
    return np.where(first <= last, np.clip(centre, first, last), (first + last) / 2)


def bounds(coordinates: np.ndarray, shape: Sequence[int]) -> tuple[slice, ...]:
    """Return the smallest window of an image that interpolation at coordinates needs."""
    flat = coordinates.reshape(len(coordinates), -1)
    low = np.floor(flat.min(axis=1)).astype(int)
    high = np.ceil(flat.max(axis=1)).astype(int) + 1
    # never empty, also where all that is asked for lies outside
    return tuple(
        slice(min(max(a, 0), n - 1), max(min(b, n), min(max(a, 0), n - 1) + 1))
        for a, b, n in zip(low, high, shape, strict=True)
    )


def interpolate(image: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return grey levels between voxels, linear; outside mirrored.

    Parameters
    ----------
    image : ndarray
        (C, [Z,] Y, X) float32.
    coordinates : ndarray
        (axes, *size): the last two or three axes are sampled, others are kept.

    Returns
    -------
    ndarray of float32
        (C, [Z,] *size).
    """
    axes = len(coordinates)
    shape = image.shape[-axes:]
    grid = torch.from_numpy(coordinates).flip(0)  # grid_sample wants x first
    scale = torch.tensor([max(n - 1, 1) for n in reversed(shape)], dtype=torch.float32)
    grid = (grid.movedim(0, -1) * 2 / scale - 1)[None]
    flat = torch.from_numpy(image).reshape(1, -1, *shape)
    out = functional.grid_sample(flat, grid, "bilinear", "reflection", align_corners=True)
    return out.reshape(*image.shape[:-axes], *coordinates.shape[1:]).numpy()


def nearest(values: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return the values of the nearest voxels; outside those of the border.

    Parameters
    ----------
    values : ndarray
        ([Z,] Y, X).
    coordinates : ndarray
        (axes, *size), as for `interpolate`.
    """
    shape = values.shape[-len(coordinates) :]
    index = [
        np.clip(np.rint(c), 0, n - 1).astype(np.intp)
        for c, n in zip(coordinates, shape, strict=True)
    ]
    return np.asarray(values[(..., *index)])


def inside(coordinates: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Tell for which coordinates there is a voxel."""
    out = np.ones(coordinates.shape[1:], bool)
    for c, n in zip(coordinates, shape, strict=True):
        out &= (c >= -0.5) & (c <= n - 0.5)
    return out


def _interpolated(bend: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return a displacement in voxels for each voxel, (axes, *size)."""
    mode = "bicubic" if len(size) == 2 else "trilinear"
    grid = torch.from_numpy(bend.astype(np.float32))[None]
    shares = functional.interpolate(grid, list(size), mode=mode, align_corners=True)[0].numpy()
    return np.asarray(shares * np.reshape(size, (-1,) + (1,) * len(size)), np.float32)
