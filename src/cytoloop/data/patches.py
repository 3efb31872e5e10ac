"""Warped patches of an image, and the target channels made from labels and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from cytoloop.data.augmentation import Warp
from cytoloop.data.augmentation.warp import (
    clamp_centre,
    interpolate,
    is_inside,
    sample_nearest,
    source_window,
)
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.target_maps import SCALE, TARGET_MAPS, WARPED_MARGIN, fill_excluded
from cytoloop.intensity.normalization import IntensityStats, normalize
from cytoloop.truth.classes import CLASS_PREFIX

Patch = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]


def warped_patch(
    cached: CachedImage,
    intensity: IntensityStats,
    warp: Warp,
    centre: np.ndarray,
    size: Sequence[int],
    maps: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Patch:
    """Return a patch of an image after a warp.

    If the warped patch would have no valid voxel, the patch is only turned and flipped.

    Parameters
    ----------
    cached : CachedImage
    intensity : (ndarray, ndarray)
        Offset and scale of each channel, see `CachedImage.intensity_stats`.
    warp : Warp
    centre : ndarray
        (ndim,): centre of the patch in voxels.
    size : sequence of int
        Size of the patch before quarter turns.
    maps : mapping of str to ndarray of uint8
        ([Z,] Y, X): target maps of the image, see `cytoloop.data.target_maps`.

    Returns
    -------
    image : ndarray of float32
        (C, *patch), normalised.
    labels : ndarray of unsigned integers
        (*patch); a view if the warp does not interpolate.
    valid : ndarray of bool
        (*patch); False for excluded voxels and outside the image.
    maps : dict of str to ndarray
        (*patch), 0..255.
    """
    corner = np.rint(centre - (np.asarray(size) - 1) / 2).astype(int)
    window = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    if warp.interpolates:
        patch = _interpolated_patch(cached, intensity, warp, centre, window, maps)
        if patch is not None:
            return patch
    image = normalize(warp.turn_and_flip(cached.image[(slice(None), *window)]), *intensity)
    return (
        image,
        warp.turn_and_flip(cached.labels[window]),
        warp.turn_and_flip(cached.valid[window]),
        {name: warp.turn_and_flip(values[window]) for name, values in maps.items()},
    )


def _interpolated_patch(
    cached: CachedImage,
    intensity: IntensityStats,
    warp: Warp,
    centre: np.ndarray,
    window: tuple[slice, ...],
    maps: Mapping[str, np.ndarray],
) -> Patch | None:
    """Return a patch after a warp that interpolates; None if it has no valid voxel."""
    axes = warp.axes
    size = [int(s.stop - s.start) for s in window]
    shape = cached.shape[-axes:]
    offsets = warp.offsets(size)
    shift = clamp_centre(offsets, centre[-axes:], shape).astype(np.float32)
    coordinates = offsets + shift.reshape(-1, *[1] * axes)
    planes = window[: len(size) - axes]
    source = (*planes, *source_window(coordinates, shape))
    local = _relative(coordinates, source)
    valid = sample_nearest(cached.valid[source], local) & is_inside(coordinates, shape)
    if not valid.any():
        return None
    image = interpolate(normalize(cached.image[(slice(None), *source)], *intensity), local)
    labels = sample_nearest(cached.labels[source], local)
    warped = {
        name: _map_of_warped_labels(cached, name, planes, coordinates)
        if name in WARPED_MARGIN
        else interpolate(values[source][None].astype(np.float32), local)[0]
        for name, values in maps.items()
    }
    return (
        np.ascontiguousarray(warp.turn_and_flip(image)),
        warp.turn_and_flip(labels),
        warp.turn_and_flip(valid),
        {name: warp.turn_and_flip(values) for name, values in warped.items()},
    )


def _map_of_warped_labels(
    cached: CachedImage, name: str, planes: tuple[slice, ...], coordinates: np.ndarray
) -> np.ndarray:
    """Return a map of `WARPED_MARGIN`, computed from the labels after the warp.

    Parameters
    ----------
    cached : CachedImage
    name : str
        Name of the map.
    planes : tuple of slice
        Window along the axes that are not resampled.
    coordinates : ndarray
        (axes, *size): source of each voxel of the patch.
    """
    margin = WARPED_MARGIN[name]
    pads = [(0, 0)] * (coordinates.ndim - 2) + [(margin, margin)] * 2
    # extrapolate the warp to the margin around the patch
    wide = np.pad(coordinates, pads, mode="reflect", reflect_type="odd")
    source = (*planes, *source_window(wide, cached.shape[-len(wide) :]))
    local = _relative(wide, source)
    labels, valid = (sample_nearest(v[source], local) for v in (cached.labels, cached.valid))
    filled = fill_excluded(labels, valid, cached.spacing_um)
    return TARGET_MAPS[name](filled, cached.spacing_um)[..., margin:-margin, margin:-margin]


def _relative(coordinates: np.ndarray, source: tuple[slice, ...]) -> np.ndarray:
    """Return coordinates relative to the first voxel of a window."""
    axes = len(coordinates)
    first = np.array([s.start for s in source[-axes:]], np.float32)
    return coordinates - first.reshape(-1, *[1] * axes)


def target_channels(
    heads: Sequence[str], labels: np.ndarray, maps: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the target of each head, (K, ...) float32 in [0, 1].

    Parameters
    ----------
    heads : sequence of str
        ``foreground``, names of maps, or heads of classes in the order of their values.
    labels : ndarray of unsigned integers
        (...).
    maps : mapping of str to ndarray
        (...), 0..255: maps of `cytoloop.data.target_maps`.
    """
    target = np.empty((len(heads), *labels.shape), np.float32)
    for value, (channel, head) in enumerate(zip(target, heads, strict=True), 1):
        if head.startswith(CLASS_PREFIX):
            np.equal(labels, value, out=channel, casting="unsafe")
        elif head == "foreground":
            np.greater(labels, 0, out=channel, casting="unsafe")
        else:
            np.divide(maps[head], SCALE, out=channel, casting="unsafe")
    return target
