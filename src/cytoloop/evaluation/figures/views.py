"""Views of an image: the image itself in 2D, a plane and two projections in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
