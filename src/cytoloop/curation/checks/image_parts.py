"""Parts of an image that are enough for its quality metrics."""

from __future__ import annotations

import numpy as np

_SAMPLES = 250_000
"""Number of voxels for medians and percentiles. More take longer and change no shown digit."""

_WINDOW = 512
"""Edge in pixels of the central part in which sharpness and alignment are measured."""


def sample_voxels(image: np.ndarray) -> np.ndarray:
    """Return about 250 000 voxels of an image ([Z,] Y, X), evenly spaced, as a vector."""
    return image.reshape(-1)[:: max(image.size // _SAMPLES, 1)]


def central_part(image: np.ndarray) -> np.ndarray:
    """Return the central 512 x 512 pixels of the last two axes, or all of a smaller image."""
    y, x = ((max(n - _WINDOW, 0) // 2, min(n, _WINDOW)) for n in image.shape[-2:])
    return image[..., y[0] : y[0] + y[1], x[0] : x[0] + x[1]]
