"""Base classes of spatial and intensity transforms, and checks of their arguments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cytoloop.data.augmentation.warp import Warp
from cytoloop.errors import ConfigError


class SpatialTransform:
    """A transform that moves voxels. It is added to a `Warp`, which moves all of them at once.

    Parameters
    ----------
    prob : float
        Probability that a patch is transformed, 0 to 1.
    """

    def __init__(self, prob: float) -> None:
        self.prob = checked_probability(type(self).__name__, prob)

    def add_to(self, warp: Warp, rng: np.random.Generator) -> None:
        """Draw random parameters and add the transform to the warp."""
        raise NotImplementedError


class IntensityTransform:
    """A transform of grey levels.

    Parameters
    ----------
    prob : float
        Probability that a patch is transformed, 0 to 1.
    """

    def __init__(self, prob: float) -> None:
        self.prob = checked_probability(type(self).__name__, prob)

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the transformed image, (C, [Z,] Y, X) float32, normalised."""
        raise NotImplementedError


def checked_probability(name: str, prob: float) -> float:
    """Return a probability as a float.

    Raises
    ------
    ConfigError
        It is outside 0 to 1.
    """
    if not 0 <= prob <= 1:
        raise ConfigError(f"augmentation {name}.prob", f"is {prob}", "Expected 0 to 1.")
    return float(prob)


def checked_range(
    name: str, values: Sequence[float], lowest: float, highest: float
) -> tuple[float, float]:
    """Return a range as two floats.

    Raises
    ------
    ConfigError
        The values are not two numbers in increasing order within the bounds.
    """
    if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
        raise ConfigError(
            f"augmentation {name}",
            f"is {list(values)}",
            f"Expected [lowest, highest] within {lowest:g} to {highest:g}.",
        )
    return float(values[0]), float(values[1])
