"""Noise: of the detector, of counting photons, and detector elements that fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cytoloop.data.augmentation.spatial import checked_probability, checked_range


class GreyLevels:
    """A change of grey levels.

    Parameters
    ----------
    prob : float
        How likely a patch is changed, 0 to 1.
    """

    def __init__(self, prob: float) -> None:
        self.prob = checked_probability(type(self).__name__, prob)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the changed image, (C, [Z,] Y, X) float32 in network units."""
        raise NotImplementedError


class Noise(GreyLevels):
    """Gaussian noise. MONAI's draws its numbers four times as slowly.

    Parameters
    ----------
    prob : float
    std : (float, float)
        In network units.
    """

    def __init__(self, prob: float = 0.1, std: Sequence[float] = (0, 0.08)) -> None:
        super().__init__(prob)
        self.std = checked_range("noise.std", std, 0, 1e6)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with noise."""
        return torch.add(image, _normal(image, rng), alpha=rng.uniform(*self.std))


class Poisson(GreyLevels):
    """Counting noise: the variance of a voxel grows with its grey level.

    Parameters
    ----------
    prob : float
    strength : (float, float)
        Standard deviation at the brightest voxel, as a share of the patch's range: .1 is that of
        100 photons, .02 of 2 500. Photon noise is all but normal there, and drawn as such.
    """

    def __init__(self, prob: float = 0.1, strength: Sequence[float] = (0.01, 0.1)) -> None:
        super().__init__(prob)
        self.strength = checked_range("poisson.strength", strength, 0, 10)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with noise."""
        strength = rng.uniform(*self.strength)
        low, span = darkest_and_range(image)
        root = ((image - low) / span).clamp_(min=0).sqrt_()
        return image + _normal(image, rng).mul_(root).mul_(strength * span)


class Impulse(GreyLevels):
    """Single voxels take any grey level of the patch's range.

    Parameters
    ----------
    prob : float
    fraction : (float, float)
        Of the voxels.
    """

    def __init__(self, prob: float = 0.1, fraction: Sequence[float] = (0.001, 0.02)) -> None:
        super().__init__(prob)
        self.fraction = checked_range(f"{type(self).__name__.lower()}.fraction", fraction, 0, 1)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with hit voxels."""
        low, span = darkest_and_range(image)
        out = image.clone().reshape(len(image), -1)
        count = round(rng.uniform(*self.fraction) * out.shape[1])
        for channel in range(len(out)):
            hit = torch.from_numpy(rng.integers(out.shape[1], size=count))
            levels = torch.from_numpy(self._levels(rng, count).astype(np.float32))
            out[channel, hit] = low.reshape(-1)[channel] + levels * span.reshape(-1)[channel]
        return out.reshape(image.shape)

    def _levels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.random(count)


class SaltPepper(Impulse):
    """Single voxels become as dark or as bright as any of the patch."""

    def _levels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(2, size=count)


class Dropout(Impulse):
    """Single voxels become as dark as any of the patch."""

    def _levels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.zeros(count)


def darkest_and_range(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's smallest value, and how far the largest is above it (1 if not)."""
    axes = tuple(range(1, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    return low, torch.where(high > low, high - low, 1.0)


def _normal(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return normally distributed numbers in an image's shape."""
    source = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return torch.randn(image.shape, generator=source)
