"""The size of an image's objects, measured with a model at several scales."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.object_scale import diameter_of, scaled_shape
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import predict_maps
from cytoloop.intensity.resample import ResampledPixels
from cytoloop.io.notes import without_notes
from cytoloop.io.pixels import MemoryPixels, Pixels

log = logging.getLogger(__name__)

_STEPS = (0.5, 1.0, 2.0, 4.0)
"""Diameters that are tried, in typical diameters of the model: a factor of 8, and its own range."""
_LEAST_CONFIDENCE = 0.5
"""Of objects that count: at some scale a network takes the noise of an empty image for objects."""
_CROP = 8.0
"""Side of the part that is looked at, in diameters that are tried."""


@dataclass(frozen=True)
class _Found:
    """Objects at one scale.

    Attributes
    ----------
    confidence : float
        How sure the network is of its objects, 0 to 1.
    diameter : float
        Median diameter across the optical axis, in pixels of the image; 0 without objects.
    """

    confidence: float
    diameter: float


def measure_diameter(name: str, pixels: Pixels, predictor: Predictor) -> float | None:
    """Return the typical diameter of an image's objects; None where it is not sure.

    The model predicts the part of the image in the middle at several scales. The objects
    of which it is most confident count.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    predictor : Predictor

    Returns
    -------
    float or None
        In um; in pixels where no voxel size is known.

    Raises
    ------
    ConfigError
        The model does not say how large its training objects were.
    """
    scale = predictor.scale
    if scale is None:
        raise ConfigError(
            "object_diameter_um=auto",
            "the model does not say how large its training objects were",
            "Give the diameter in um, or leave it out.",
        )
    with without_notes():
        tried = [_look(pixels, predictor, step * scale.typical) for step in _STEPS]
    best = max(tried, key=lambda one: one.confidence)
    log.debug("%s: objects at several scales: %s", name, tried)
    if best.diameter == 0 or best.confidence < _LEAST_CONFIDENCE:
        log.info("%s: the size of objects could not be measured", name)
        return None
    size = pixels.spacing_um[1] if pixels.spacing_um else 1.0
    log.info(
        "%s: objects are about %.3g %s wide",
        name,
        best.diameter * size,
        "um" if pixels.spacing_um else "pixels",
    )
    return best.diameter * size


def _look(pixels: Pixels, predictor: Predictor, diameter: float) -> _Found:
    """Return the objects of a part of an image, on the grid for objects of this diameter."""
    scale = predictor.scale
    if scale is None:
        raise RuntimeError("the scale of the model is unknown")
    spacing = pixels.spacing_um
    anisotropy = spacing[0] / spacing[1] if spacing else None
    part = _part(pixels, diameter, anisotropy)
    if predictor.training.goes_by_plane(pixels.shape):
        middle = part.read(tuple(slice(0, n) for n in part.shape))[:, part.shape[0] // 2]
        part = MemoryPixels(middle, pixels.spacing_um, pixels.channels)
    values = part.read(tuple(slice(0, n) for n in part.shape))
    if not (np.abs(values) <= np.finfo(np.float32).max).any():  # NaN, infinite or huge
        return _Found(0.0, 0.0)
    typical = scale.typical / diameter
    exact = type(scale)((scale.typical, scale.typical), scale.anisotropy)
    shape = scaled_shape(part.shape, anisotropy, diameter, exact)
    seen = part if shape == tuple(part.shape) else ResampledPixels(part, shape)
    storage = VolumeStorage()
    maps = predict_maps("a part", seen, predictor, storage)
    found = segment_maps(
        maps, seen.spacing_um, PostprocessSettings(), predictor.training, storage.create, False
    )
    objects = found.objects
    if objects is None or len(objects.voxels) < 2:
        return _Found(0.0, 0.0)
    probability = np.asarray(maps["probability"])
    sure = np.abs(probability.astype(np.float32) / 255 - 0.5) * 2
    labels = np.asarray(found.volumes["labels"]) > 0
    near = ndimage.binary_dilation(labels, iterations=2)
    voxels = objects.voxels[1:]
    size = seen.spacing_um
    flat = size[0] / size[1] if size and len(shape) == 3 else 1.0
    sizes = np.array([diameter_of(v * flat, len(shape)) for v in voxels])
    order = np.argsort(sizes)
    weight = np.cumsum(voxels[order])
    middle = sizes[order][np.searchsorted(weight, weight[-1] / 2)]
    fits = math.exp(-(math.log(middle / scale.typical) ** 2))
    return _Found(float(sure[near].mean()) * fits, float(middle / typical))


def _part(pixels: Pixels, diameter: float, anisotropy: float | None) -> Pixels:
    """Return the part in the middle of an image, some diameters wide."""
    side = max(round(_CROP * diameter), 32)
    sides = [side] * len(pixels.shape)
    if len(sides) == 3:
        sides[0] = max(round(side / (anisotropy or 1.0) / 2), 8)
    size = [min(n, s) for n, s in zip(pixels.shape, sides, strict=True)]
    start = [(n - s) // 2 for n, s in zip(pixels.shape, size, strict=True)]
    box = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
    data = pixels.read(box)
    return MemoryPixels(data, pixels.spacing_um, pixels.channels)
