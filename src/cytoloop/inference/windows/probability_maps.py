"""The probability maps of an image: predicted, stored, and resampled to other voxel sizes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.inference.stopwatch import NETWORK, timed
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.layout import WindowLayout
from cytoloop.inference.windows.object_scale import pixels_across, scaled_shape
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.sliding_window import sliding_window_inference, tile_image
from cytoloop.instances.blocks import Box, Volume
from cytoloop.intensity.resample import ResampledPixels, ZoomedPixels, resampled_shape
from cytoloop.io.pixels import Pixels

_PLANES = 64
"""Planes resampled at a time."""

ProbabilityMaps = dict[str, Volume]
"""Volumes ([Z,] Y, X) by name, in the order of the network's outputs, see `Predictor.maps`."""


class Progress(Protocol):
    """Called with the fraction of an image that is done, 0 to 1, and what is counted."""

    def __call__(self, fraction: float, text: str = "") -> None:
        """Show the progress."""


def ignore_progress(fraction: float, text: str = "") -> None:
    """Do nothing; the default `Progress`."""


def predict_maps(
    name: str,
    pixels: Pixels,
    predictor: Predictor,
    storage: VolumeStorage,
    dtype: str = "uint8",
    progress: Progress = ignore_progress,
) -> ProbabilityMaps:
    """Return the maps of an image: the probability of foreground, and those of other heads.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    predictor : Predictor
    storage : VolumeStorage
        Keeps the maps. Planes that a stopped run left there are not predicted again.
    dtype : str
        Of probabilities: ``uint8`` (0..255 for 0..1) or ``float16`` (0..1).
    progress : callable

    Returns
    -------
    dict of str to Volume
        ([Z,] Y, X) each. All 0 for an image of one grey level.
    """
    dtype = predictor.map_dtype(dtype)
    maps = {key: storage.create(key, pixels.shape, dtype) for key in predictor.maps}
    pixels, _ = predictor.filtered_pixels(name, pixels)
    levels = predictor.measure_intensity(name, pixels)
    if levels is None:
        return maps
    pixels, levels = predictor.prepared_pixels(pixels, levels)
    layout = predictor.layout(pixels.shape)
    prepare = partial(predictor.prepare, levels=levels)
    network = timed(NETWORK, partial(predictor.predict, levels=levels))
    batch_size = predictor.batch_size(layout)
    boxes = tile_image(layout, len(pixels.channels), len(maps))
    planes = layout.shape[0]
    done = storage.progress(predictor.maps[0])  # planes, of one box after the other
    with ThreadPoolExecutor(1, "write") as writer:
        writing: Future[None] | None = None
        for number, box in enumerate(boxes):
            first = max(done - number * planes, 0)
            if first >= planes:
                continue
            rest = (slice(first, planes), *box[1:])
            for where, predicted in sliding_window_inference(
                pixels, layout, prepare, network, rest, len(maps), batch_size
            ):
                if writing is not None:
                    writing.result()
                reached = number * planes + where[0].stop
                writing = writer.submit(
                    _write_planes, maps, layout, where, predicted, storage, reached
                )
                progress(reached / (planes * len(boxes)))
        if writing is not None:
            writing.result()
    return maps


def write_box(volume: Volume, layout: WindowLayout, box: Box, probability: np.ndarray) -> None:
    """Write a part of a map into its volume, without the mirrored margin of the image.

    Parameters
    ----------
    volume : Volume
        ([Z,] Y, X) of the image.
    layout : WindowLayout
    box : tuple of slice
        In coordinates of the layout.
    probability : ndarray of float32
        (*box), 0..1.
    """
    source, target = [], []
    for side, before, length in zip(box, layout.before, volume.shape, strict=True):
        low, high = max(side.start - before, 0), min(side.stop - before, length)
        if high <= low:
            return
        target.append(slice(low, high))
        source.append(slice(low + before - side.start, high + before - side.start))
    volume[tuple(target)] = _quantize(probability[tuple(source)], volume.dtype)


def _write_planes(
    maps: ProbabilityMaps,
    layout: WindowLayout,
    box: Box,
    predicted: np.ndarray,
    storage: VolumeStorage,
    reached: int,
) -> None:
    for volume, values in zip(maps.values(), predicted, strict=True):
        write_box(volume, layout, box, values)
    for name in reversed(maps):  # the first map's progress counts: noted after all are written
        storage.record_progress(name, reached)


def _quantize(probability: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return probabilities as they are stored: 0..255 as uint8, else 0..1."""
    if np.dtype(dtype) == np.uint8:
        return np.rint(probability * 255).astype(np.uint8)
    return probability.astype(dtype)


def resample_to_training(pixels: Pixels, predictor: Predictor, resample: bool | str) -> Pixels:
    """Return an image on the grid of the training images.

    A model that was trained on images zoomed by a factor (CytoDL's ``Zoomd``) gets them so. Other
    images are resampled to the voxel size of the training images, where both sizes are known.

    Parameters
    ----------
    pixels : Pixels
    predictor : Predictor
    resample : bool or ``auto``
        False: voxel sizes are ignored. ``auto``: as in training.
    """
    by_plane = predictor.training.goes_by_plane(pixels.shape)
    if zoom := predictor.image.get("zoom"):
        return ZoomedPixels(pixels, [1.0, *zoom] if by_plane else zoom)
    wanted = predictor.spacing_um
    if not predictor.resamples(resample) or pixels.spacing_um is None or wanted is None:
        return pixels
    if by_plane:  # planes stay as they are
        wanted = (pixels.spacing_um[0], *wanted[1:])
    shape = resampled_shape(pixels.shape, pixels.spacing_um, wanted)
    return pixels if shape == tuple(pixels.shape) else ResampledPixels(pixels, shape)


def resample_to_objects(pixels: Pixels, predictor: Predictor, diameter: float) -> Pixels:
    """Return an image on a grid on which its objects are as large as the model knows them.

    Parameters
    ----------
    pixels : Pixels
    predictor : Predictor
        Of a model whose `scale` is known.
    diameter : float
        Of the objects, in um; in pixels where no voxel size is known.
    """
    if predictor.scale is None:
        raise ConfigError(
            "object_diameter_um",
            "the model does not say how large its training objects were",
            "Leave it out; resample=true predicts at the voxel size of training.",
        )
    spacing, wide = pixels.spacing_um, pixels_across(diameter, pixels)
    anisotropy = spacing[0] / spacing[1] if spacing else None
    if predictor.training.goes_by_plane(pixels.shape):  # planes stay as they are
        plane = scaled_shape(pixels.shape[1:], anisotropy, wide, predictor.scale)
        shape = (pixels.shape[0], *plane)
    else:
        shape = scaled_shape(pixels.shape, anisotropy, wide, predictor.scale)
    return pixels if shape == tuple(pixels.shape) else ResampledPixels(pixels, shape)


def resample_to_image(
    maps: Mapping[str, Volume], shape: tuple[int, ...], storage: VolumeStorage
) -> ProbabilityMaps:
    """Return maps on the grid of the image; objects keep their numbers."""
    return {name: _resample(name, volume, shape, storage) for name, volume in maps.items()}


def _resample(name: str, volume: Volume, shape: tuple[int, ...], storage: VolumeStorage) -> Volume:
    if tuple(volume.shape) == tuple(shape):
        return volume
    resampled = storage.create(f"{name}_resampled", shape, volume.dtype)
    if name == "labels":
        planes, *rest = (
            (np.arange(new) * 2 + 1) * old // (2 * new)  # the nearest voxel centre
            for new, old in zip(shape, volume.shape, strict=True)
        )
        for number, plane in enumerate(planes):
            resampled[number] = np.asarray(volume[int(plane)])[np.ix_(*rest)]
        return resampled
    source = ResampledPixels(_VolumePixels(volume), shape)
    for start in range(0, shape[0], _PLANES):
        box = (slice(start, min(start + _PLANES, shape[0])), *(slice(0, n) for n in shape[1:]))
        values = source.read(box)[0]
        resampled[box] = np.rint(values) if volume.dtype == np.uint8 else values
    return resampled


class _VolumePixels(Pixels):
    """A volume as pixels of one channel."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.shape = tuple(volume.shape)
        self.dtype = np.dtype(volume.dtype)
        self.channels = ("probability",)
        self.spacing_um = None

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self._volume[box])[None]
