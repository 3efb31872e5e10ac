"""The views of an image that a picture shows: itself, or a plane and projections of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A cut through an image.

    Attributes
    ----------
    name : str
    axis : int
        Axis along which a stack is cut or projected.
    plane : int or None
        Which plane; None for the maximum along the axis.
    pixel : float
        Height of a pixel over its width.
    flat : bool
        The image is 2D and stays as it is.
    """

    name: str
    axis: int = 0
    plane: int | None = None
    pixel: float = 1.0
    flat: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the cut through ([Z,] Y, X)."""
        if self.flat:
            return image
        if self.plane is not None:
            return np.take(image, self.plane, axis=self.axis)
        return np.asarray(image.max(axis=self.axis))

    def height(self, shape: tuple[int, ...]) -> float:
        """Return the height of the view of an image of this shape over its width."""
        y, x = (n for i, n in enumerate(shape) if self.flat or i != self.axis)
        return y * self.pixel / x


def views_of(shown: np.ndarray, spacing: Sequence[float] | None = None) -> list[View]:
    """Return the views of an image: itself in 2D; the middle plane and projections in 3D.

    The middle plane is that of the planes that hold anything to be shown; the projections are
    maxima through z and through y.

    Parameters
    ----------
    shown : ndarray of bool
        ([Z,] Y, X): objects that count.
    spacing : sequence of float, optional
        (Z, Y, X) voxel size; without it planes are drawn as far apart as pixels.
    """
    if shown.ndim == 2:
        return [View("", flat=True)]
    planes = np.flatnonzero(shown.any(axis=(1, 2)))
    z = int(planes[len(planes) // 2]) if len(planes) else shown.shape[0] // 2
    pixel = spacing[0] / spacing[2] if spacing else 1.0
    return [
        View(f"z = {z}", plane=z),
        View("max. z"),
        View("max. y", axis=1, pixel=pixel),
    ]
