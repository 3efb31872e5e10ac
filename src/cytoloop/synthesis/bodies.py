"""Objects drawn into boxes of their own: their light after the optics, and their visible body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cytoloop.synthesis.layout import Body
from cytoloop.synthesis.shapes import REACH, draw_shape

_TRUNCATE = 2.5
"""Radius of blurs in sigma."""


@dataclass(frozen=True)
class Look:
    """How the objects of an image look.

    Attributes
    ----------
    texture, spots, rim : float
        As in `SynthesisSettings`.
    grain : float
        Sigma of the grain in radii.
    """

    texture: float
    spots: float
    rim: float
    grain: float


@dataclass(frozen=True)
class Box:
    """A part of the field around one object; it may reach out of the field.

    Attributes
    ----------
    start : tuple of int
        First voxel (D,) in the field.
    level : numpy.ndarray
        Level of the shape: below 1 inside.
    """

    start: tuple[int, ...]
    level: np.ndarray

    def overlap(self, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the part within the field: slices of the field, and of this box."""
        field, own = [], []
        for first, side, length in zip(self.start, self.level.shape, shape, strict=True):
            low, high = max(first, 0), max(min(first + side, length), max(first, 0))
            field.append(slice(low, high))
            own.append(slice(low - first, high - first))
        return tuple(field), tuple(own)


def shape_box(body: Body, spacing: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> Box:
    """Return the shape of an object on the voxel grid, with room for the blur.

    Parameters
    ----------
    body : Body
    spacing : numpy.ndarray
        Voxel size (D,) in um.
    sigma : numpy.ndarray
        Of the blur, (D,) in voxels.
    rng : numpy.random.Generator
    """
    shape = draw_shape(body.shape, len(spacing), rng)
    reach = np.ceil(body.radius * REACH[body.shape] / spacing + _TRUNCATE * sigma).astype(int)
    middle = np.floor(body.centre / spacing).astype(int)
    start = middle - reach
    axes = [
        (((first + np.arange(2 * r + 1) + 0.5) * s - c) / body.radius).astype(np.float32)
        for first, r, s, c in zip(start, reach, spacing, body.centre, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    level = shape(points.reshape(-1, len(spacing))).reshape(points.shape[:-1])
    return Box(tuple(int(s) for s in start), level)


def coverage(box: Box, radius: float, spacing: np.ndarray) -> np.ndarray:
    """Return the fraction of each voxel that the object fills, in [0, 1]."""
    step = max(float(spacing.min()) / radius, 1e-3)
    return np.asarray(np.clip(0.5 + (1 - box.level) / np.float32(step), 0, 1))


def interior(
    box: Box, radius: float, spacing: np.ndarray, look: Look, rng: np.random.Generator
) -> np.ndarray:
    """Return the brightness within an object, around 1: grain, spots, holes and rim."""
    shape = box.level.shape
    light = np.ones(shape, np.float32)
    if look.texture:
        sigma = look.grain * radius / spacing
        grain = ndimage.gaussian_filter(
            rng.standard_normal(shape, np.float32), sigma, truncate=_TRUNCATE
        )
        light *= np.exp(look.texture * grain / max(float(grain.std()), 1e-6))
    light *= np.maximum(1 + look.rim * np.clip(box.level, 0, 1) ** 4, 0.1)
    bright, dark = rng.poisson(look.spots), rng.poisson(look.spots / 3)
    inside = np.flatnonzero(box.level < 0.8)
    if inside.size and bright:
        width = rng.uniform(0.06, 0.16)
        light += _dots(shape, inside, bright, width * radius / spacing, rng) * rng.uniform(0.5, 3)
    if inside.size and dark:
        width = rng.uniform(0.1, 0.2)
        holes = _dots(shape, inside, dark, width * radius / spacing, rng)
        light *= 1 - 0.8 * np.minimum(holes, 1)
    return light


def _dots(
    shape: tuple[int, ...],
    inside: np.ndarray,
    count: int,
    sigma: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return dots at random places inside an object, with a height of 0.5 to 1 each."""
    dots = np.zeros(shape, np.float32)
    dots.flat[rng.choice(inside, count)] = rng.uniform(0.5, 1, count)
    sigma = np.maximum(sigma, 0.35)
    height = np.prod([_peak(s) for s in sigma])
    return ndimage.gaussian_filter(dots, sigma, truncate=_TRUNCATE) / np.float32(height)


def _peak(sigma: float) -> float:
    """Return the peak of a sampled Gaussian of sum 1."""
    x = np.arange(-int(_TRUNCATE * sigma + 0.5), int(_TRUNCATE * sigma + 0.5) + 1)
    return float(1 / np.exp(-(x**2) / (2 * sigma**2)).sum())


def blurred(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return an image after a Gaussian with sigma (D,) in voxels; outside lies nothing."""
    return ndimage.gaussian_filter(image, sigma, mode="constant", truncate=_TRUNCATE)
