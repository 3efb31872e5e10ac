"""Changes of place: each adds to a `Warp`, so that a patch is interpolated once at most."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cytoloop.data.augmentation.warp import Warp
from cytoloop.errors import ConfigError


class Spatial:
    """A change of place.

    Parameters
    ----------
    prob : float
        How likely a patch is changed, 0 to 1.
    """

    def __init__(self, prob: float) -> None:
        self.prob = checked_probability(type(self).__name__, prob)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw a change and add it to the warp."""
        raise NotImplementedError


class Flip(Spatial):
    """Mirror along each axis by even chance.

    Parameters
    ----------
    prob : float
    axes : sequence of str, optional
        Of Z, Y and X; all that the image has by default.
    """

    def __init__(self, prob: float = 1.0, axes: Sequence[str] = ("Z", "Y", "X")) -> None:
        super().__init__(prob)
        if unknown := set(axes) - set("ZYX"):
            raise ConfigError(
                "augmentation flip.axes", f"{sorted(unknown)} are none", "Of Z, Y and X."
            )
        self.axes = tuple(axes)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Choose the axes; one is mirrored for sure where there is only one."""
        for axis, name in enumerate("ZYX"[-warp.ndim :]):
            if name in self.axes and (len(self.axes) == 1 or rng.random() < 0.5):
                warp.flips.append(axis)


class QuarterTurn(Spatial):
    """Turn in the plane by 90, 180 or 270 degrees: nothing is interpolated."""

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Choose how often."""
        warp.turns += int(rng.integers(1, 4))


class Rotate(Spatial):
    """Turn by any angle.

    Parameters
    ----------
    prob : float
    degrees : float
        In the plane, to either side at most.
    tilt : float
        About the Y and X axes, to either side at most; only where the voxels of a stack are
        nearly cubes (and their size is known).
    """

    def __init__(self, prob: float = 0.2, degrees: float = 180.0, tilt: float = 30.0) -> None:
        super().__init__(prob)
        self.degrees, self.tilt = float(degrees), float(tilt)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the angles."""
        angle = math.radians(rng.uniform(-self.degrees, self.degrees))
        turn = _rotation(warp.axes, warp.axes - 2, warp.axes - 1, angle)
        if not warp.planar:
            for axis in (1, 2):
                angle = math.radians(rng.uniform(-self.tilt, self.tilt))
                turn = turn @ _rotation(3, 0, axis, angle)
        spacing = warp.spacing[-warp.axes :]
        warp.multiply(turn * spacing[None, :] / spacing[:, None])


class Scale(Spatial):
    """Enlarge or shrink: all axes alike, or the plane alone where a stack is anisotropic.

    Parameters
    ----------
    prob : float
    factors : (float, float)
        2 shows objects twice as large. Drawn so that 1/2 is as likely as 2.
    """

    def __init__(self, prob: float = 0.2, factors: Sequence[float] = (0.8, 1.25)) -> None:
        super().__init__(prob)
        self.factors = checked_range("scale.factors", factors, 0.05, 20)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw the factor."""
        factor = math.exp(rng.uniform(*np.log(self.factors)))
        warp.multiply(np.eye(warp.axes) / factor)


class Elastic(Spatial):
    """Bend smoothly: random displacements of a coarse grid, interpolated.

    Parameters
    ----------
    prob : float
    cells : int
        Cells of the grid along each axis of the patch: more bend finer.
    magnitude : (float, float)
        Standard deviation of a displacement, as a share of a cell. Above 0.3 the picture may fold.
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
        """Draw the displacements, as shares of a cell (`Warp.offsets` knows the patch's size)."""
        strength = rng.uniform(*self.magnitude)
        points = (self.cells + 1,) * warp.axes
        warp.bends.append(rng.normal(0, strength / self.cells, (warp.axes, *points)))


def checked_probability(name: str, prob: float) -> float:
    """Return a probability.

    Raises
    ------
    ConfigError
        Not 0 to 1.
    """
    if not 0 <= prob <= 1:
        raise ConfigError(f"augmentation {name}.prob", f"is {prob}", "Expected 0 to 1.")
    return float(prob)


def checked_range(
    name: str, values: Sequence[float], lowest: float, highest: float
) -> tuple[float, float]:
    """Return a range.

    Raises
    ------
    ConfigError
        Not two numbers in order, within the limits.
    """
    if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
        raise ConfigError(
            f"augmentation {name}",
            f"is {list(values)}",
            f"Expected [lowest, highest], {lowest:g} to {highest:g}.",
        )
    return float(values[0]), float(values[1])


def _rotation(axes: int, first: int, second: int, angle: float) -> np.ndarray:
    """Return the matrix of a turn in the plane of two axes."""
    turn = np.eye(axes)
    turn[first, first] = turn[second, second] = math.cos(angle)
    turn[first, second], turn[second, first] = math.sin(angle), -math.sin(angle)
    return turn
