"""What the microscope adds to the objects: haze, depth, background, debris, noise, grey levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cytoloop.synthesis.bodies import blurred
from cytoloop.synthesis.layout import draw, draw_log
from cytoloop.synthesis.settings import SynthesisSettings

_COARSE = 6
"""Cells per axis of the grid of an uneven background."""
_TRUNCATE = 2.5
_EYE = 100
"""Voxels over which an eye averages noise."""
_LEAST_SNR = 6.0
_LEAST_CONTRAST = 0.2
"""Part of the light at an object's place that is its own."""


def uneven(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random field in [0, 1], float32."""
    coarse = rng.random([min(_COARSE, n) for n in shape]).astype(np.float32)
    zoom = [n / c for n, c in zip(shape, coarse.shape, strict=True)]
    smooth = ndimage.zoom(coarse, zoom, order=1, mode="nearest", grid_mode=True)
    return np.asarray(smooth[tuple(slice(n) for n in shape)])


def add_debris(
    light: np.ndarray, count: int, radius: float, spacing: np.ndarray, rng: np.random.Generator
) -> None:
    """Add small bright bodies without labels, in place."""
    for _ in range(count):
        size = radius * rng.uniform(0.08, 0.3)
        sigma = np.maximum(size / spacing, 0.3) * rng.uniform(0.7, 1.5, light.ndim)
        centre = [int(rng.integers(0, n)) for n in light.shape]
        halo = np.ceil(3 * sigma).astype(int)
        box = tuple(
            slice(max(c - h, 0), min(c + h + 1, n))
            for c, h, n in zip(centre, halo, light.shape, strict=True)
        )
        axes = np.ogrid[box]
        squares = sum(((a - c) / s) ** 2 for a, c, s in zip(axes, centre, sigma, strict=True))
        light[box] += np.float32(rng.uniform(0.2, 2)) * np.exp(-0.5 * squares).astype(np.float32)


def add_fibre(
    light: np.ndarray, radius: float, spacing: np.ndarray, rng: np.random.Generator
) -> None:
    """Add a bright wall (3D) or line (2D) without a label, in place: cell walls, scratches."""
    normal = rng.normal(size=light.ndim)
    normal[0] *= 0.5  # walls along the optical axis are seen, those across it are haze
    normal /= np.linalg.norm(normal)
    axes = np.ogrid[tuple(slice(n) for n in light.shape)]
    middle = [rng.uniform(0, n) * s for n, s in zip(light.shape, spacing, strict=True)]
    away = sum(n * (a * s - m) for n, a, s, m in zip(normal, axes, spacing, middle, strict=True))
    width = radius * rng.uniform(0.08, 0.25)
    wall = np.exp(-0.5 * (away / width) ** 2).astype(np.float32)
    light += wall * uneven(light.shape, rng) ** 2 * np.float32(rng.uniform(0.3, 1.5))


@dataclass(frozen=True)
class Scene:
    """What reaches the camera.

    Attributes
    ----------
    photons : numpy.ndarray
        ([Z,] Y, X) float32: expected photons of each voxel.
    gain : numpy.ndarray
        ([Z,] Y, X) float32: photons per brightness of an object.
    read_noise : float
        Standard deviation of the camera's noise, in photons.
    """

    photons: np.ndarray
    gain: np.ndarray
    read_noise: float

    def is_seen(self, labels: np.ndarray, brightness: np.ndarray) -> np.ndarray:
        """Return for each label, 0 included, whether an annotator would see the object, (N,) bool.

        An object is seen if its light stands out from noise (the criterion of Rose 1948) and from
        the light of its surroundings.

        Parameters
        ----------
        labels : numpy.ndarray
            ([Z,] Y, X), numbered from 1.
        brightness : numpy.ndarray
            (N,): mean brightness of the voxels of each label by the object alone.
        """
        flat, count = labels.ravel(), len(brightness)
        voxels = np.maximum(np.bincount(flat, minlength=count), 1)
        total = np.bincount(flat, self.photons.ravel(), count) / voxels
        own = brightness * np.bincount(flat, self.gain.ravel(), count) / voxels
        noise = np.sqrt(total + self.read_noise**2) / np.sqrt(np.minimum(voxels, _EYE))
        return np.asarray((own > _LEAST_SNR * noise) & (own > _LEAST_CONTRAST * total))


def illuminate(
    light: np.ndarray,
    radius: float,
    spacing: np.ndarray,
    settings: SynthesisSettings,
    rng: np.random.Generator,
) -> Scene:
    """Return what reaches the camera of objects whose brightness is about 1."""
    shape, dims = light.shape, light.ndim
    gain: np.ndarray = np.ones(shape, np.float32)
    if dims == 3 and (tails := draw(settings.tails, rng)):
        width = np.array([rng.uniform(0.8, 2), *[rng.uniform(0.2, 0.6)] * 2])
        light = light + np.float32(tails) * _coarse_blur(light, radius * width / spacing)
    if haze := draw(settings.haze, rng):
        sigma = radius * rng.uniform(1, 3) / spacing * np.array([2.0, 1, 1])[-dims:]
        light = light + np.float32(haze) * _coarse_blur(light, sigma)
    if dims == 3 and (loss := draw(settings.depth_loss, rng)):
        depth = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None]
        gain *= np.exp(-loss * (depth if rng.random() < 0.8 else 1 - depth))
    light = light * gain
    if background := draw(settings.background, rng) * rng.random():
        slope = rng.uniform(0, 0.8)
        light = light + np.float32(background) * (1 - slope + slope * uneven(shape, rng))
    if rng.random() < 0.3:  # uneven illumination
        uneven_light = 1 - rng.uniform(0, 0.6) * uneven(shape, rng)
        light, gain = light * uneven_light, gain * uneven_light
    photons = np.float32(draw_log(settings.photons, rng))
    return Scene(np.maximum(light, 0) * photons, gain * photons, draw(settings.read_noise, rng))


def photograph(scene: Scene, settings: SynthesisSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the grey levels that a camera records, uint16."""
    seen = rng.poisson(scene.photons).astype(np.float32)
    seen += rng.normal(0, scene.read_noise, seen.shape).astype(np.float32)
    if smoothing := max(draw(settings.smoothing, rng) - 0.2, 0):
        seen = ndimage.gaussian_filter(seen, smoothing, truncate=_TRUNCATE)
    # grey levels: the brightest object reaches 60 to 60 000 of 65 535
    top = max(float(np.percentile(seen, 99.9)), 1.0)
    gain = draw_log((60, 60_000 if rng.random() < 0.8 else 255), rng) / top
    offset = rng.uniform(0, 0.3) * gain * top
    return np.clip(np.rint(seen * gain + offset), 0, 65_535).astype(np.uint16)


def _coarse_blur(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return an image after a wide blur, computed on a grid as coarse as the blur allows."""
    step = [max(min(int(s / 2), n // 4), 1) for s, n in zip(sigma, image.shape, strict=True)]
    coarse = ndimage.uniform_filter(image, step)[tuple(slice(s // 2, None, s) for s in step)]
    coarse = blurred(coarse, sigma / step)
    zoom = [n / c for n, c in zip(image.shape, coarse.shape, strict=True)]
    return np.asarray(ndimage.zoom(coarse, zoom, order=1, mode="nearest", grid_mode=True))
