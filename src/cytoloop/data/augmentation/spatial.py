"""Spatial transforms. All of a patch's transforms form one `Warp`: it is interpolated only once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cytoloop.data.augmentation.base import SpatialTransform, checked_range
from cytoloop.data.augmentation.warp import Warp
from cytoloop.errors import ConfigError


class Flip(SpatialTransform):
    """Mirror along each axis with probability 0.5.

    Parameters
    ----------
    prob : float
    axes : sequence of str
        Of Z, Y and X. With a single axis, the patch is always mirrored along it.
    """

    def __init__(self, prob: float = 1.0, axes: Sequence[str] = ("Z", "Y", "X")) -> None:
        super().__init__(prob)
        if unknown := set(axes) - set("ZYX"):
            raise ConfigError(
                "augmentation flip.axes", f"unknown: {sorted(unknown)}", "Expected some of Z, Y, X."
            )
        self.axes = tuple(axes)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the axes."""
        for axis, name in enumerate("ZYX"[-warp.ndim :]):
            if name in self.axes and (len(self.axes) == 1 or rng.random() < 0.5):
                warp.flips.append(axis)


class QuarterTurn(SpatialTransform):
    """Rotate by 90, 180 or 270 degrees in the plane, without interpolation."""

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the number of quarter turns."""
        warp.quarter_turns += int(rng.integers(1, 4))


class Rotate(SpatialTransform):
    """Rotate by any angle.

    Parameters
    ----------
    prob : float
    degrees : float
        Maximum angle in the plane, to either side.
    tilt : float
        Maximum angle about the Y and X axes, to either side. Used only for stacks of known voxel
        size with an anisotropy of at most `MAX_ANISOTROPY`.
    """

    def __init__(self, prob: float = 0.2, degrees: float = 180.0, tilt: float = 30.0) -> None:
        super().__init__(prob)
        self.degrees, self.tilt = float(degrees), float(tilt)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the angles."""
        angle = math.radians(rng.uniform(-self.degrees, self.degrees))
        rotation = _rotation(warp.axes, warp.axes - 2, warp.axes - 1, angle)
        if not warp.planar:
            for axis in (1, 2):
                angle = math.radians(rng.uniform(-self.tilt, self.tilt))
                rotation = rotation @ _rotation(3, 0, axis, angle)
        spacing = warp.spacing[-warp.axes :]
        warp.append_matrix(rotation * spacing[None, :] / spacing[:, None])


class Scale(SpatialTransform):
    """Zoom in or out, along all axes that the warp resamples.

    Parameters
    ----------
    prob : float
    factors : (float, float)
        Range of the factor; 2 doubles the size of objects. The logarithm is drawn uniformly, so
        that 1/2 is as likely as 2.
    """

    def __init__(self, prob: float = 0.2, factors: Sequence[float] = (0.8, 1.25)) -> None:
        super().__init__(prob)
        self.factors = checked_range("scale.factors", factors, 0.05, 20)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the factor."""
        factor = math.exp(rng.uniform(*np.log(self.factors)))
        warp.append_matrix(np.eye(warp.axes) / factor)


class Elastic(SpatialTransform):
    """Deform smoothly: random displacements on a coarse grid, interpolated.

    Parameters
    ----------
    prob : float
    cells : int
        Cells of the grid along each axis of the patch. More cells give finer deformations.
    magnitude : (float, float)
        Range of the standard deviation of a displacement, as a fraction of a cell. Above 0.3, the
        image may fold.
    """

    def __init__(
        self, prob: float = 0.1, cells: int = 4, magnitude: Sequence[float] = (0.05, 0.2)
    ) -> None:
        super().__init__(prob)
        if not 1 <= cells <= 64:
            raise ConfigError("augmentation elastic.cells", f"is {cells}", "Expected 1 to 64.")
        self.cells = int(cells)
        self.magnitude = checked_range("elastic.magnitude", magnitude, 0, 1)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the displacements as fractions of the patch's size."""
        strength = rng.uniform(*self.magnitude)
        points = (self.cells + 1,) * warp.axes
        warp.displacements.append(rng.normal(0, strength / self.cells, (warp.axes, *points)))


def _rotation(axes: int, first: int, second: int, angle: float) -> np.ndarray:
    """Return the matrix of a rotation in the plane of two axes."""
    matrix = np.eye(axes)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = math.sin(angle), -math.sin(angle)
    return matrix
