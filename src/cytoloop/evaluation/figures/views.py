"""Views of an image: the image itself in 2D, a plane and two projections in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_SIDE = 2048
"""Largest side of a picture, in pixels, that is drawn as a whole."""


@dataclass(frozen=True)
class View:
    """A plane or a projection of an image.

    Attributes
    ----------
    name : str
    axis : int
        Axis along which a stack is cut or projected.
    plane : int or None
        Position of the plane; None for the maximum along the axis.
    pixel_aspect : float
        Height of a pixel over its width.
    is_2d : bool
        The image is 2D and stays as it is.
    """

    name: str
    axis: int = 0
    plane: int | None = None
    pixel_aspect: float = 1.0
    is_2d: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the view of an image ([Z,] Y, X), two-dimensional."""
        if self.is_2d:
            return image
        if self.plane is not None:
            return np.take(image, self.plane, axis=self.axis)
        return np.asarray(image.max(axis=self.axis))

    def aspect(self, shape: tuple[int, ...]) -> float:
        """Return the height over the width of the view of an image of this shape."""
        height, width = (n for i, n in enumerate(shape) if self.is_2d or i != self.axis)
        return height * self.pixel_aspect / width


def choose_window(wrong: np.ndarray) -> tuple[slice, slice]:
    """Return the part (Y, X) of an image that is drawn: all of it, or where most is wrong.

    Larger pictures would be drawn with less than one pixel for several objects, and take minutes.

    Parameters
    ----------
    wrong : ndarray of bool
        ([Z,] Y, X): voxels where prediction and truth differ.
    """
    plane = wrong if wrong.ndim == 2 else wrong.any(axis=0)
    starts = [np.arange(0, max(n - MAX_SIDE, 0) + 1, MAX_SIDE // 4) for n in plane.shape]
    if all(len(one) == 1 for one in starts):
        return tuple(slice(0, min(n, MAX_SIDE)) for n in plane.shape)  # type: ignore[return-value]
    sums = np.pad(plane.cumsum(0, np.int64).cumsum(1), ((1, 0), (1, 0)))
    ends = [np.minimum(one + MAX_SIDE, n) for one, n in zip(starts, plane.shape, strict=True)]
    counts = (
        sums[np.ix_(ends[0], ends[1])]
        - sums[np.ix_(starts[0], ends[1])]
        - sums[np.ix_(ends[0], starts[1])]
        + sums[np.ix_(starts[0], starts[1])]
    )
    y, x = np.unravel_index(int(counts.argmax()), counts.shape)
    return (
        slice(int(starts[0][y]), int(ends[0][y])),
        slice(int(starts[1][x]), int(ends[1][x])),
    )


def choose_views(foreground: np.ndarray, spacing: Sequence[float] | None = None) -> list[View]:
    """Return the views of an image: itself in 2D; the middle plane and projections in 3D.

    The middle plane is the median of the planes with foreground. The projections are maxima
    through z and through y.

    Parameters
    ----------
    foreground : ndarray of bool
        ([Z,] Y, X).
    spacing : sequence of float, optional
        (Z, Y, X) voxel size; without it voxels are drawn as cubes.
    """
    if foreground.ndim == 2:
        return [View("", is_2d=True)]
    planes = np.flatnonzero(foreground.any(axis=(1, 2)))
    z = int(planes[len(planes) // 2]) if len(planes) else foreground.shape[0] // 2
    aspect = spacing[0] / spacing[2] if spacing else 1.0
    return [
        View(f"z = {z}", plane=z),
        View("max. z"),
        View("max. y", axis=1, pixel_aspect=aspect),
    ]
