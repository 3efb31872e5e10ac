"""Spatial warp of a patch: where each voxel comes from, and sampling of images and labels there.

A patch is sampled from the whole image, not from a crop. Voxels that rotate into view therefore
show the image. Only voxels outside the image are unknown; they get weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional


@dataclass
class Warp:
    """Random spatial transform of a patch, drawn before any voxel is read.

    Attributes
    ----------
    ndim : int
        2 or 3.
    planar : bool
        Only Y and X are resampled: a 2D image, or an anisotropic stack.
    spacing : ndarray
        Voxel size (Z, Y, X) or (Y, X) in any unit. Rotations are rotations in this unit.
    matrix : ndarray or None
        Linear map from offsets in the patch to offsets in the image, in voxels from the patch's
        centre, over the resampled axes; None for the identity.
    displacements : list of ndarray
        Displacements of elastic deformations, (axes, *points of a coarse grid), as fractions of
        the patch's size.
    quarter_turns : int
        Rotations by 90 degrees in the plane.
    flips : list of int
        Mirrored axes.
    """

    ndim: int
    planar: bool
    spacing: np.ndarray
    matrix: np.ndarray | None = None
    displacements: list[np.ndarray] = field(default_factory=list)
    quarter_turns: int = 0
    flips: list[int] = field(default_factory=list)

    @property
    def axes(self) -> int:
        """Number of the last axes that are resampled."""
        return 2 if self.planar else 3

    def append_matrix(self, matrix: np.ndarray) -> None:
        """Append a linear map to those drawn so far."""
        self.matrix = matrix if self.matrix is None else self.matrix @ matrix

    @property
    def interpolates(self) -> bool:
        """Whether voxels are interpolated, not only permuted."""
        return self.matrix is not None or bool(self.displacements)

    def source_size(self, size: Sequence[int]) -> list[int]:
        """Return the patch's size before quarter turns."""
        out = list(size)
        if self.quarter_turns % 2:
            out[-1], out[-2] = out[-2], out[-1]
        return out

    def turn_and_flip(self, patch: np.ndarray) -> np.ndarray:
        """Return a view of a patch, (..., [Z,] Y, X), after quarter turns and flips."""
        if self.quarter_turns % 4:
            patch = np.rot90(patch, self.quarter_turns, (-2, -1))
        if self.flips:
            patch = np.flip(patch, tuple(axis - self.ndim for axis in self.flips))
        return patch

    def offsets(self, size: Sequence[int]) -> np.ndarray:
        """Return the source of each voxel relative to the patch's centre.

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
        for displacement in self.displacements:
            grid += _upsampled(displacement, size)
        if self.matrix is not None:
            grid = np.tensordot(self.matrix.astype(np.float32), grid, axes=1)
        return np.asarray(grid, np.float32)


def clamp_centre(offsets: np.ndarray, centre: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the nearest centre at which all offsets lie inside an image.

    Along an axis on which the offsets span more than the image, the patch is centred.

    Parameters
    ----------
    offsets : ndarray
        (axes, ...), in voxels.
    centre : ndarray
        (axes,), in voxels.
    shape : sequence of int
        Shape of the image along these axes.
    """
    flat = offsets.reshape(len(offsets), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    first, last = -low, np.asarray(shape) - 1 - high
    return np.where(first <= last, np.clip(centre, first, last), (first + last) / 2)


def source_window(coordinates: np.ndarray, shape: Sequence[int]) -> tuple[slice, ...]:
    """Return the smallest window of an image that holds all voxels near these coordinates.

    The window has at least one voxel, even if all coordinates lie outside the image.
    """
    flat = coordinates.reshape(len(coordinates), -1)
    low = np.floor(flat.min(axis=1)).astype(int)
    high = np.ceil(flat.max(axis=1)).astype(int) + 1
    return tuple(
        slice(min(max(a, 0), n - 1), max(min(b, n), min(max(a, 0), n - 1) + 1))
        for a, b, n in zip(low, high, shape, strict=True)
    )


def interpolate(image: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return linearly interpolated grey levels; outside the image, it is mirrored.

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
    grid = torch.from_numpy(coordinates).flip(0)  # grid_sample expects x first
    scale = torch.tensor([max(n - 1, 1) for n in reversed(shape)], dtype=torch.float32)
    grid = (grid.movedim(0, -1) * 2 / scale - 1)[None]
    flat = torch.from_numpy(image).reshape(1, -1, *shape)
    out = functional.grid_sample(flat, grid, "bilinear", "reflection", align_corners=True)
    return out.reshape(*image.shape[:-axes], *coordinates.shape[1:]).numpy()


def sample_nearest(values: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return the values of the nearest voxels; outside the image, those at its border.

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


def is_inside(coordinates: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return which coordinates lie in a voxel of the image, (*size) bool."""
    out = np.ones(coordinates.shape[1:], bool)
    for c, n in zip(coordinates, shape, strict=True):
        out &= (c >= -0.5) & (c <= n - 0.5)
    return out


def _upsampled(displacement: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return a displacement in voxels for each voxel, (axes, *size)."""
    mode = "bicubic" if len(size) == 2 else "trilinear"
    grid = torch.from_numpy(displacement.astype(np.float32))[None]
    fractions = functional.interpolate(grid, list(size), mode=mode, align_corners=True)[0].numpy()
    return np.asarray(fractions * np.reshape(size, (-1,) + (1,) * len(size)), np.float32)
