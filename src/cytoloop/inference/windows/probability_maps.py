"""The maps of an image, from the network to volumes: probability, and what other heads say."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.layout import WindowLayout
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.sliding_window import sliding_window_inference, tile_image
from cytoloop.instances.blocks import Box, Volume
from cytoloop.intensity.normalization import Levels
from cytoloop.intensity.resample import ResampledPixels, resampled_shape
from cytoloop.io.pixels import Pixels

DTYPES = {"uint8": np.uint8, "float16": np.float16}
_PLANES = 64


ProbabilityMaps = dict[str, Volume]
"""Volumes by name: ``probability`` first, ``distance`` where a network says the depth; of classes
one each, ``class_NAME``."""


def predict_maps(
    name: str,
    pixels: Pixels,
    predictor: Predictor,
    scratch: VolumeStorage,
    dtype: str = "uint8",
    batch_size: int | str = "auto",
    skip_empty: bool = False,
    advance: Callable[[float], None] = lambda share: None,
) -> ProbabilityMaps:
    """Return the probability of foreground of each voxel, or what other heads say of it.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    predictor : Predictor
    scratch : Scratch
        Where it is kept; what a stopped run left there is not predicted again.
    dtype : str
        ``uint8`` (0..255 for 0..1) or ``float16`` (0..1).
    batch_size : int or ``auto``
        Windows at a time, see `batch_of`.
    skip_empty : bool
        Windows that show nothing but one grey level are background.
    advance : callable
        Called with the share that is done, 0 to 1.

    Returns
    -------
    dict of str to Volume
        ([Z,] Y, X) each, see `Predictor.maps`.
    """
    volumes = {one: scratch.new(one, pixels.shape, DTYPES[dtype]) for one in predictor.maps}
    levels = predictor.levels(name, pixels)
    if levels is None:  # nothing is to be seen there
        return volumes
    windows = predictor.windows(pixels.shape)
    prepare = partial(predictor.prepare, levels=levels)
    network = partial(network_of, predictor, levels, skip_empty)
    batch = batch_of(batch_size, predictor, windows)
    count = len(volumes)
    boxes = tile_image(windows, len(pixels.channels), count)
    planes = windows.shape[0]
    done = scratch.done(predictor.maps[0])  # planes of one box after the other
    with ThreadPoolExecutor(1, "write") as behind:
        writing: Future[None] | None = None
        for number, box in enumerate(boxes):
            first = max(done - number * planes, 0)
            if first >= planes:
                continue
            rest = (slice(first, planes), *box[1:])
            for where, found in sliding_window_inference(
                pixels, windows, prepare, network, rest, count, batch
            ):
                if writing is not None:
                    writing.result()
                reached = number * planes + where[0].stop
                writing = behind.submit(_write, volumes, windows, where, found, scratch, reached)
                advance(reached / (planes * len(boxes)))
        if writing is not None:
            writing.result()
    return volumes


def network_of(
    predictor: Predictor, levels: list[Levels], skip_empty: bool, stacked: np.ndarray
) -> np.ndarray:
    """Return the maps of prepared windows; with `skip_empty` 0 for those of one grey level."""
    if not skip_empty:
        return predictor.predict(stacked, levels)
    flat = stacked.reshape(len(stacked), -1)
    shows = flat.min(axis=1) < flat.max(axis=1)
    maps = np.zeros((len(stacked), len(predictor.maps), *stacked.shape[2:]), np.float32)
    if shows.any():
        maps[shows] = predictor.predict(stacked[shows], levels)
    return maps


def batch_of(size: int | str, predictor: Predictor, windows: WindowLayout) -> int:
    """Return how many windows go through the network at a time.

    As many as hold the voxels of so many training patches, at least one. ``auto``: of 4 on a CPU,
    which is no faster with more; of 64 on an accelerator, where `Predictor.predict` takes fewer if
    they do not fit.
    """
    patches = (4 if predictor.device.type == "cpu" else 64) if size == "auto" else int(size)
    return max(patches * math.prod(predictor.size) // math.prod(windows.size), 1)


def write_box(volume: Volume, windows: WindowLayout, box: Box, probability: np.ndarray) -> None:
    """Write a part of a map, without what was mirrored around the image.

    Parameters
    ----------
    volume : Volume
        ([Z,] Y, X) of the image.
    windows : Windows
    box : tuple of slice
        In the coordinates of the windows.
    probability : ndarray of float32
        (*box), 0..1.
    """
    inside, into = [], []
    for side, before, length in zip(box, windows.before, volume.shape, strict=True):
        low, high = max(side.start - before, 0), min(side.stop - before, length)
        if high <= low:
            return
        into.append(slice(low, high))
        inside.append(slice(low + before - side.start, high + before - side.start))
    volume[tuple(into)] = quantised(probability[tuple(inside)], volume.dtype)


def _write(
    volumes: ProbabilityMaps,
    windows: WindowLayout,
    box: Box,
    found: np.ndarray,
    scratch: VolumeStorage,
    reached: int,
) -> None:
    for volume, one in zip(volumes.values(), found, strict=True):
        write_box(volume, windows, box, one)
    for name in reversed(volumes):  # how far the work is says the first one, once all are written
        scratch.note(name, reached)


def quantised(probability: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return probabilities as they are stored: 0..255 as uint8, else as they are."""
    if np.dtype(dtype) == np.uint8:
        return np.rint(probability * 255).astype(np.uint8)
    return probability.astype(dtype)


def resample_to_training(pixels: Pixels, predictor: Predictor) -> Pixels:
    """Return an image at the voxel size of the training images, where both are known."""
    wanted = predictor.spacing_um
    if pixels.spacing_um is None or wanted is None:
        return pixels
    shape = resampled_shape(pixels.shape, pixels.spacing_um, wanted)
    return pixels if shape == tuple(pixels.shape) else ResampledPixels(pixels, shape)


def resample_to_image(
    maps: ProbabilityMaps, shape: tuple[int, ...], scratch: VolumeStorage
) -> ProbabilityMaps:
    """Return maps on the grid of the image."""
    return {name: _resampled(name, one, shape, scratch) for name, one in maps.items()}


def _resampled(name: str, stored: Volume, shape: tuple[int, ...], scratch: VolumeStorage) -> Volume:
    if tuple(stored.shape) == tuple(shape):
        return stored
    source = ResampledPixels(_VolumePixels(stored), shape)
    volume = scratch.new(f"{name}_resampled", shape, stored.dtype)
    whole = stored.dtype == np.uint8
    for start in range(0, shape[0], _PLANES):
        box = (slice(start, min(start + _PLANES, shape[0])), *(slice(0, n) for n in shape[1:]))
        found = source.read(box)[0]
        volume[box] = np.rint(found) if whole else found
    return volume


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


class PixelVolume:
    """The first channel of an image as a volume that is only read.

    Parameters
    ----------
    pixels : Pixels
    """

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.shape = tuple(pixels.shape)
        self.dtype = pixels.dtype

    def __getitem__(self, box: Box) -> np.ndarray:
        return self._pixels.read(box)[0]

    def __setitem__(self, box: Box, value: np.ndarray) -> None:
        raise TypeError("this volume is an image on disk")
