"""The steps of a workflow: functions of an image, with lengths in um.

A step takes a `Field` and returns another. Steps before the threshold change grey levels, the
threshold makes a mask, and what follows changes masks or makes objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from skimage import filters, measure, morphology

from cytoloop.classic.bodies import find_bodies
from cytoloop.instances import InstanceSettings, segment

_TRUNCATE = 3.0
METHODS = ("otsu", "triangle", "li", "yen", "isodata", "mean", "minimum")


@dataclass(frozen=True)
class Field:
    """An image on its way through a workflow.

    Attributes
    ----------
    data : numpy.ndarray
        ([Z,] Y, X): grey levels float32, a mask bool, or labels int32.
    spacing_um : tuple of float
        Voxel size of its axes.
    grey : numpy.ndarray
        The latest grey levels, float32: thresholds of single objects look at them.
    """

    data: np.ndarray
    spacing_um: tuple[float, ...]
    grey: np.ndarray

    def sigma(self, length_um: float) -> tuple[float, ...]:
        """Return a length in voxels of each axis; at least 0.3, the least that a filter can see."""
        return tuple(max(length_um / side, 0.3) for side in self.spacing_um)

    def with_grey(self, data: np.ndarray) -> Field:
        """Return the field with other grey levels."""
        data = data.astype(np.float32, copy=False)
        return replace(self, data=data, grey=data)


Step = Callable[..., Field]


def normalize(field: Field, lower: float = 1.0, upper: float = 99.8) -> Field:
    """Scale grey levels so that two percentiles become 0 and 1."""
    low, high = np.percentile(field.data, (lower, upper))
    return field.with_grey((field.data - low) / max(float(high - low), 1e-6))


def log(field: Field) -> Field:
    """Take the logarithm: dim objects beside bright ones."""
    return field.with_grey(np.log1p(np.maximum(field.data, 0) * 20) / math.log(21))


def smooth(field: Field, sigma_um: float = 0.3) -> Field:
    """Smooth with a Gaussian."""
    return field.with_grey(
        ndimage.gaussian_filter(field.data, field.sigma(sigma_um), truncate=_TRUNCATE)
    )


def background(field: Field, sigma_um: float = 10.0) -> Field:
    """Subtract what a wide Gaussian leaves."""
    wide = ndimage.gaussian_filter(field.data, field.sigma(sigma_um), truncate=2.0)
    return field.with_grey(np.maximum(field.data - wide, 0))


def dots(field: Field, sizes_um: Sequence[float] = (0.3, 0.5)) -> Field:
    """Enhance bright dots: the largest Laplacian of Gaussian of several sigmas (in um)."""
    found = [_second(field, s, "dots") for s in sizes_um]
    return field.with_grey(np.maximum.reduce(found))


def filaments(field: Field, sizes_um: Sequence[float] = (0.25, 0.5)) -> Field:
    """Enhance bright lines: two curved directions and one straight one."""
    found = [_second(field, s, "filaments") for s in sizes_um]
    return field.with_grey(np.maximum.reduce(found))


def shells(field: Field, sizes_um: Sequence[float] = (0.3, 0.6)) -> Field:
    """Enhance bright sheets (lines in 2D): one curved direction."""
    found = [_second(field, s, "shells") for s in sizes_um]
    return field.with_grey(np.maximum.reduce(found))


def _second(field: Field, sigma_um: float, kind: str) -> np.ndarray:
    """Return a filter of second derivatives at one sigma, 0 where nothing is bright."""
    sigma = field.sigma(sigma_um)
    if kind == "dots":
        along = [_derivative(field.data, sigma, axis, axis) * s**2 for axis, s in enumerate(sigma)]
        return np.maximum(-sum(along), 0)
    dims = field.data.ndim
    hessian = np.empty((*field.data.shape, dims, dims), np.float32)
    for a in range(dims):
        for b in range(a, dims):
            value = _derivative(field.data, sigma, a, b) * (sigma[a] * sigma[b])
            hessian[..., a, b] = hessian[..., b, a] = value
    curves = np.linalg.eigvalsh(hessian)  # ascending: the most negative, the brightest ridge, first
    first = np.maximum(-curves[..., 0], 0)
    if kind == "shells" or dims == 2:
        return first
    second = np.maximum(-curves[..., 1], 0)
    return np.sqrt(first * second)


def _derivative(data: np.ndarray, sigma: Sequence[float], a: int, b: int) -> np.ndarray:
    order = [int(axis == a) + int(axis == b) for axis in range(data.ndim)]
    return ndimage.gaussian_filter(data, sigma, order=order, truncate=_TRUNCATE)


def threshold(field: Field, method: str = "otsu", scale: float = 1.0) -> Field:
    """Cut at a threshold of all grey levels, times `scale`."""
    return replace(field, data=field.data > _cut(field.data, method) * scale)


def _cut(values: np.ndarray, method: str) -> float:
    # scikit-image makes no histogram of a tiny float32 range, and takes 3 columns for RGB
    values = values.ravel().astype(np.float64)
    if values.max() - values.min() <= 1e-6 * max(abs(values.max()), 1e-6):
        return float(values.max())
    return float(getattr(filters, f"threshold_{method}")(values))


def threshold_local(field: Field, sigma_um: float = 5.0, scale: float = 1.0) -> Field:
    """Keep what is brighter than its surroundings, where a global threshold sees objects."""
    near = ndimage.gaussian_filter(field.data, field.sigma(sigma_um), truncate=2.0)
    floor = 0.5 * _cut(field.data, "triangle")
    return replace(field, data=(field.data > near * scale) & (field.data > floor))


def threshold_objects(field: Field, method: str = "triangle", scale: float = 1.0) -> Field:
    """Cut at a low global threshold, then each part again at its own Otsu threshold.

    After the masked object thresholding of the Allen Cell & Structure Segmenter (Chen et al. 2018,
    doi 10.1101/491035): dim objects keep their threshold beside bright ones.
    """
    low = field.data > _cut(field.data, method) * scale
    parts, _ = ndimage.label(low)
    kept = np.zeros(low.shape, bool)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        inside = parts[box] == number
        values = field.data[box][inside]
        kept[box] |= inside & (field.data[box] > _cut(values, "otsu") * 0.6)
    return replace(field, data=kept)


def bodies(field: Field, least_um: float = 4.0, outline: float = 0.25, alike: float = 0.0) -> Field:
    """Find bright bodies by their form at many thresholds.

    An outline of 0 would be at the background, one of 1 at the brightness of the body. Each body
    has an outline of its own (`alike` 0), or all are at one grey level (1); `least_um` is the
    diameter of the smallest body.
    """
    least = _ball(field) * least_um**field.data.ndim
    return replace(field, data=find_bodies(field.data, field.spacing_um, least, outline, alike))


def _ball(field: Field) -> float:
    """Return the voxels of a ball (2D: a disc) with a diameter of 1 um."""
    unit = math.pi / 6 if field.data.ndim == 3 else math.pi / 4
    return unit / math.prod(field.spacing_um)


def fill(field: Field) -> Field:
    """Fill holes of the mask that background does not reach."""
    return replace(field, data=ndimage.binary_fill_holes(field.data))


def close(field: Field, radius_um: float = 0.5) -> Field:
    """Close gaps up to twice a radius."""
    return replace(field, data=_near(_away(field, field.data, radius_um), radius_um))


def _away(field: Field, mask: np.ndarray, radius_um: float) -> Field:
    grown = ndimage.distance_transform_edt(~mask, field.spacing_um) <= radius_um
    return replace(field, data=grown)


def _near(field: Field, radius_um: float) -> np.ndarray:
    return np.asarray(
        ndimage.distance_transform_edt(np.pad(field.data, 1, mode="edge"), field.spacing_um)[
            tuple(slice(1, -1) for _ in field.data.shape)
        ]
        > radius_um
    )


def thin(field: Field) -> Field:
    """Reduce the mask to lines of one voxel."""
    return replace(field, data=morphology.skeletonize(field.data).astype(bool))


def size(field: Field, least_um: float = 0.0, most_um: float | None = None) -> Field:
    """Drop parts or objects smaller than a ball of diameter `least_um`, larger than `most_um`."""
    labels = field.data if field.data.dtype != bool else measure.label(field.data, connectivity=1)
    voxels = np.bincount(labels.ravel())
    ball = _ball(field)
    low = ball * least_um**labels.ndim
    high = math.inf if most_um is None else ball * most_um**labels.ndim
    good = (voxels >= low) & (voxels <= high)
    good[0] = False
    kept = good[labels]
    if field.data.dtype == bool:
        return replace(field, data=kept)
    return replace(field, data=np.where(kept, labels, 0))


def watershed(field: Field, seed_um: float = 1.0, min_depth: float = 0.2) -> Field:
    """Separate touching objects at the necks of the mask, or of each object.

    The rule of `cytoloop predict`: seeds are the maxima of the distance to the border, smoothed
    with `seed_um`; two seeds are one object unless the distance falls by `min_depth` between them.
    """
    rule = InstanceSettings(
        seed_smoothing=seed_um / min(field.spacing_um), min_depth=min_depth, min_voxels=1
    )
    spacing = field.spacing_um if len(field.spacing_um) == 3 else (1.0, *field.spacing_um)
    if field.data.dtype.kind != "i":
        labels, _ = segment(field.data.astype(np.float32), rule, spacing)
        return replace(field, data=np.asarray(labels).astype(np.int32))
    cut, count = np.zeros(field.data.shape, np.int32), 0
    for number, box in enumerate(ndimage.find_objects(field.data), 1):
        if box is None:
            continue
        inside = np.pad(field.data[box] == number, 1)
        found, _ = segment(inside.astype(np.float32), rule, spacing)
        parts = np.asarray(found)[tuple(slice(1, -1) for _ in box)].astype(np.int32)
        cut[box] += np.where(parts > 0, parts + count, 0)
        count += int(parts.max(initial=0))
    return replace(field, data=cut)


def watershed_grey(field: Field, seed_um: float = 2.0) -> Field:
    """Separate cells by their bright borders: basins of the smoothed grey levels.

    Grows from the darkest places; the mask, if there is one, is not crossed.
    """
    from skimage.segmentation import watershed as flood

    mask = field.data if field.data.dtype == bool else np.ones(field.grey.shape, bool)
    smoothed = ndimage.gaussian_filter(field.grey, field.sigma(seed_um / 2))
    window = [max(round(2 * s) | 1, 3) for s in field.sigma(seed_um)]
    low = (ndimage.minimum_filter(smoothed, window) == smoothed) & mask
    seeds, _ = ndimage.label(low, np.ones([3] * low.ndim))
    return replace(field, data=flood(field.grey, seeds, mask=mask).astype(np.int32))


STEPS: dict[str, Step] = {
    one.__name__: one
    for one in (
        *(normalize, log, smooth, background, dots, filaments, shells),
        *(threshold, threshold_local, threshold_objects, bodies),
        *(fill, close, thin, size, watershed, watershed_grey),
    )
}
"""Steps by name."""
