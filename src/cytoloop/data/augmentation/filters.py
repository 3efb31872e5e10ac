"""Filters plane by plane, through OpenCV: several times faster than volume filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from cytoloop.data.augmentation.noise import GreyLevels, darkest_and_range
from cytoloop.data.augmentation.spatial import checked_range
from cytoloop.errors import ConfigError


class Blur(GreyLevels):
    """Gaussian blur in the plane.

    Parameters
    ----------
    prob : float
    sigma : (float, float)
        In pixels.
    """

    def __init__(self, prob: float = 0.15, sigma: Sequence[float] = (0.4, 1.2)) -> None:
        super().__init__(prob)
        self.sigma = checked_range("blur.sigma", sigma, 0.05, 50)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the blurred image."""
        sigma = rng.uniform(*self.sigma)
        return _by_plane(image, lambda plane: cv2.GaussianBlur(plane, (0, 0), sigma))


class Median(GreyLevels):
    """Median of a square in the plane.

    Parameters
    ----------
    prob : float
    sizes : sequence of int
        Sides of the square to choose from, each 1, 3 or 5.
    """

    def __init__(self, prob: float = 0.1, sizes: Sequence[int] = (3, 5)) -> None:
        super().__init__(prob)
        if not sizes or set(sizes) - {1, 3, 5}:
            raise ConfigError(
                "augmentation median.sizes", f"{list(sizes)}", "Expected some of 1, 3 and 5."
            )
        self.sizes = list(sizes)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the filtered image."""
        size = self.sizes[rng.integers(len(self.sizes))]
        return _by_plane(image, lambda plane: cv2.medianBlur(plane, size))


class LowResolution(GreyLevels):
    """Sampled with fewer pixels and interpolated back, in the plane.

    Parameters
    ----------
    prob : float
    zoom : (float, float)
        Share of the pixels along an axis that is left.
    """

    def __init__(self, prob: float = 0.1, zoom: Sequence[float] = (0.5, 1.0)) -> None:
        super().__init__(prob)
        self.zoom = checked_range("low_resolution.zoom", zoom, 0.05, 1)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image at its size, without its finest details."""
        zoom = rng.uniform(*self.zoom)
        height, width = image.shape[-2:]
        fewer = (max(round(width * zoom), 1), max(round(height * zoom), 1))

        def coarse(plane: np.ndarray) -> np.ndarray:
            small = cv2.resize(plane, fewer, interpolation=cv2.INTER_AREA)
            return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)

        return _by_plane(image, coarse)


class Clahe(GreyLevels):
    """Contrast limited adaptive histogram equalisation (Zuiderveld 1994) in the plane.

    Parameters
    ----------
    prob : float
    clip : (float, float)
        How many times the mean a bin of the histogram may hold.
    tiles : int
        Tiles along each axis of the plane.
    """

    def __init__(
        self, prob: float = 0.1, clip: Sequence[float] = (1.5, 5.0), tiles: int = 4
    ) -> None:
        super().__init__(prob)
        self.clip = checked_range("clahe.clip", clip, 0.1, 1000)
        if not 1 <= tiles <= 64:
            raise ConfigError("augmentation clahe.tiles", f"is {tiles}", "Expected 1 to 64.")
        self.tiles = int(tiles)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with local contrast, over the same range of grey levels."""
        equalizer = cv2.createCLAHE(rng.uniform(*self.clip), (self.tiles, self.tiles))
        low, span = darkest_and_range(image)
        levels = ((image - low) / span * 255).round_().to(torch.uint8)
        out = _by_plane(levels, equalizer.apply)
        return out.to(torch.float32) / 255 * span + low


class Saturation(GreyLevels):
    """Draw the channels together (below 1) or apart (above 1); one channel stays as it is.

    Parameters
    ----------
    prob : float
    factor : (float, float)
        On each channel's difference from the mean of all.
    """

    def __init__(self, prob: float = 0.1, factor: Sequence[float] = (0.0, 2.0)) -> None:
        super().__init__(prob)
        self.factor = checked_range("saturation.factor", factor, 0, 100)

    def change(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image with other differences between its channels."""
        mean = image.mean(0, keepdim=True)
        return mean + (image - mean) * rng.uniform(*self.factor)


def _by_plane(image: Tensor, filtered: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Return an image, (..., Y, X), filtered plane by plane."""
    planes = image.reshape(-1, *image.shape[-2:]).numpy()
    return torch.from_numpy(np.stack([filtered(plane) for plane in planes])).reshape(image.shape)
