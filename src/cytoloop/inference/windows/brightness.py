"""The brightness of an image, relative to the surroundings of its objects.

Annotators look at an image with one contrast. What is darker than the surroundings of its objects
are on average is background to them: light from out of focus, which a network may take for a part
of an object or for a dim one. `postprocess.haze` cuts it off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import BRIGHTNESS
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.object_scale import diameter_of
from cytoloop.instances.blocks import BLOCK_VOXELS, Blocks, Box, Volume, add_halo, relative_to
from cytoloop.io.pixels import Pixels

_SMOOTHING = 0.06
"""Sigma of the Gaussian on the image, in diameters of its objects."""
_DARKEST = 5.0
"""Percentile of the grey levels that is 0."""
_SAMPLE = 2**20
"""Voxels of a block, at most, from which the percentile is taken."""
_FULL = 255


def with_brightness(
    maps: Mapping[str, Volume],
    pixels: Pixels,
    settings: PostprocessSettings,
    training: TrainingFacts,
    storage: VolumeStorage,
) -> dict[str, Volume]:
    """Return the maps of an image, and its brightness if `settings` cut off haze.

    Parameters
    ----------
    maps : mapping of str to Volume
        ([Z,] Y, X) each.
    pixels : Pixels
        The image on the grid of the maps.
    settings : PostprocessSettings
    training : TrainingFacts
        Of the model.
    storage : VolumeStorage
        Of the image.

    Raises
    ------
    ConfigError
        See `cuts_haze`.
    """
    if not cuts_haze(settings, training, len(pixels.channels)):
        return dict(maps)
    return {**maps, BRIGHTNESS: brightness(maps, pixels, training, storage)}


def cuts_haze(settings: PostprocessSettings, training: TrainingFacts, channels: int) -> bool:
    """Return whether haze is cut off the objects of a model.

    Raises
    ------
    ConfigError
        It is to be cut off, but the model takes several channels.
    """
    if training.classes or training.output:
        return False
    if float(settings.resolve_tuned(training.tuned).haze) == 0:
        return False
    if channels > 1:
        raise ConfigError(
            "postprocess.haze",
            f"the model takes {channels} channels, and which of them shows its objects is unknown",
            "Set postprocess.haze=0.",
        )
    return True


def brightness(
    maps: Mapping[str, Volume], pixels: Pixels, training: TrainingFacts, storage: VolumeStorage
) -> Volume:
    """Return the brightness of an image, ([Z,] Y, X) uint8: 0 dark, 127.5 as around its objects.

    The image is smoothed by 6 % of the diameter of its objects. Around them is the mean, over the
    objects, of the brightness just outside of each; dark is the 5th percentile. 255 everywhere in
    an image without objects, or in which they are no brighter than the dark.

    Parameters
    ----------
    maps : mapping of str to Volume
        ([Z,] Y, X) each: ``probability``; ``distance`` and ``contour`` where they are predicted.
    pixels : Pixels
        The image on the grid of the maps, one channel in which objects are bright.
    training : TrainingFacts
        Of the model.
    storage : VolumeStorage
        Of the image.
    """
    plain = PostprocessSettings().resolve_tuned(training.tuned)
    rule = replace(plain, grow_um=0.0, grow_z_um=0.0, haze=0.0)
    found = segment_maps(maps, pixels.spacing_um, rule, training, storage.create, with_mask=False)
    labels, objects = found.volumes["labels"], found.objects
    blocks = Blocks.for_shape(labels.shape, BLOCK_VOXELS)
    values = storage.create(BRIGHTNESS, tuple(labels.shape), "uint8")
    count = 0 if objects is None else len(objects.voxels)
    dark, level = 0.0, -math.inf
    image = None
    if objects is not None and count > 1:
        by_plane = training.goes_by_plane(labels.shape)
        image = _SmoothImage(pixels, _sigma(float(np.median(objects.voxels[1:])), pixels, by_plane))
        dark, level = _levels(labels, image, blocks, count, by_plane)
    for box in blocks:
        if image is None or level <= dark:
            values[box] = np.full(tuple(s.stop - s.start for s in box), _FULL, np.uint8)
        else:
            part = (image.read(box) - dark) / (level - dark) * _FULL / 2
            values[box] = np.clip(np.rint(part), 0, _FULL).astype(np.uint8)
    return values


class _SmoothImage:
    """An image of one channel, smoothed box by box."""

    def __init__(self, pixels: Pixels, sigma: Sequence[float]) -> None:
        self._pixels, self._sigma = pixels, sigma
        self._halo = [math.ceil(4 * one) for one in sigma]  # where SciPy cuts its Gaussian off

    def read(self, box: Box) -> np.ndarray:
        """Return the grey levels in a box, float32."""
        window = add_halo(box, self._halo, self._pixels.shape)
        values = np.nan_to_num(self._pixels.read(window)[0].astype(np.float32), posinf=0, neginf=0)
        return ndimage.gaussian_filter(values, self._sigma, mode="nearest")[
            relative_to(box, window)
        ]


def _sigma(voxels: float, pixels: Pixels, by_plane: bool) -> list[float]:
    """Return the sigma of the smoothing along each axis, in voxels, for objects of this size."""
    ndim = len(pixels.shape)
    if by_plane:
        return [0.0, *[_SMOOTHING * diameter_of(voxels, 2)] * 2]
    if ndim == 2:
        return [_SMOOTHING * diameter_of(voxels, 2)] * 2
    ratio = pixels.spacing_um[0] / pixels.spacing_um[1] if pixels.spacing_um else 1.0
    across = _SMOOTHING * diameter_of(voxels * ratio, 3)
    return [across / ratio, across, across]


def _levels(
    labels: Volume, image: _SmoothImage, blocks: Blocks, count: int, by_plane: bool
) -> tuple[float, float]:
    """Return the grey level of the dark, and the mean over objects of that just outside of each."""
    cross = ndimage.generate_binary_structure(len(labels.shape), 1)
    if by_plane:
        cross[[0, 2]] = False
    voxels, sums, samples = np.zeros(count), np.zeros(count), []
    for box in blocks:
        window = add_halo(box, [1] * len(labels.shape), labels.shape)
        found = np.asarray(labels[window])
        around = np.where(found == 0, ndimage.maximum_filter(found, footprint=cross), 0)
        around = around[relative_to(box, window)].ravel()
        grey = image.read(box).ravel()
        voxels += np.bincount(around, minlength=count)
        sums += np.bincount(around, grey, minlength=count)
        samples.append(grey[:: -(-grey.size // _SAMPLE)])
    seen = voxels[1:] > 0
    level = float((sums[1:][seen] / voxels[1:][seen]).mean()) if seen.any() else -math.inf
    return float(np.percentile(np.concatenate(samples), _DARKEST)), level
