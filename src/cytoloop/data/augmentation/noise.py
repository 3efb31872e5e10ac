"""Noise: Gaussian, Poisson, and single voxels of wrong grey levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cytoloop.data.augmentation.base import IntensityTransform, checked_range


class Noise(IntensityTransform):
    """Gaussian noise. MONAI's transform takes four times as long.

    Parameters
    ----------
    prob : float
    std : (float, float)
        Range of the standard deviation, in units of the normalised image.
    """

    def __init__(self, prob: float = 0.1, std: Sequence[float] = (0, 0.08)) -> None:
        super().__init__(prob)
        self.std = checked_range("noise.std", std, 0, 1e6)

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with noise."""
        return torch.add(image, _normal(image, rng), alpha=rng.uniform(*self.std))


class Poisson(IntensityTransform):
    """Poisson noise: the variance of a voxel is proportional to its grey level.

    Parameters
    ----------
    prob : float
    strength : (float, float)
        Range of the standard deviation at the brightest voxel, as a fraction of the patch's range
        of grey levels: 0.1 is the noise of 100 photons, 0.02 of 2500. The noise is drawn from a
        normal distribution, which approximates a Poisson distribution of as many photons.
    """

    def __init__(self, prob: float = 0.1, strength: Sequence[float] = (0.01, 0.1)) -> None:
        super().__init__(prob)
        self.strength = checked_range("poisson.strength", strength, 0, 10)

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with noise."""
        strength = rng.uniform(*self.strength)
        low, span = minimum_and_range(image)
        root = ((image - low) / span).clamp_(min=0).sqrt_()
        return image + _normal(image, rng).mul_(root).mul_(strength * span)


class Impulse(IntensityTransform):
    """Impulse noise: single voxels take a random grey level of the patch's range.

    Parameters
    ----------
    prob : float
    fraction : (float, float)
        Range of the fraction of voxels.
    """

    def __init__(self, prob: float = 0.1, fraction: Sequence[float] = (0.001, 0.02)) -> None:
        super().__init__(prob)
        self.fraction = checked_range(f"{type(self).__name__.lower()}.fraction", fraction, 0, 1)

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with some voxels replaced."""
        low, span = minimum_and_range(image)
        out = image.clone().reshape(len(image), -1)
        count = round(rng.uniform(*self.fraction) * out.shape[1])
        for channel in range(len(out)):
            voxels = torch.from_numpy(rng.integers(out.shape[1], size=count))
            levels = torch.from_numpy(self._levels(rng, count).astype(np.float32))
            out[channel, voxels] = low.reshape(-1)[channel] + levels * span.reshape(-1)[channel]
        return out.reshape(image.shape)

    def _levels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return the new grey levels, 0 to 1 of the patch's range."""
        return rng.random(count)


class SaltPepper(Impulse):
    """Salt-and-pepper noise: single voxels take the patch's minimum or maximum."""

    def _levels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(2, size=count)


class Dropout(Impulse):
    """Dead pixels: single voxels take the patch's minimum."""

    def _levels(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.zeros(count)


def minimum_and_range(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's minimum and its range of grey levels (1 for a constant channel)."""
    axes = tuple(range(1, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    return low, torch.where(high > low, high - low, 1.0)


def _normal(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return standard normal random numbers of an image's shape."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return torch.randn(image.shape, generator=generator)
