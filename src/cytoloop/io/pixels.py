"""Pixels of an image, read box by box: from memory, or from a file larger than the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.notes import note
from cytoloop.io.readers.open import (
    OpenImage,
    channel_numbers,
    open_image,
    time_number,
    wrap_read_errors,
)
from cytoloop.io.voxel_size import Grid, Spacing

IN_MEMORY_BYTES = 2**28
"""Largest image in bytes that is read at once, which is faster than many reads."""

MAX_VALUES = 2**37
"""Most values of an image: predicting more takes days and fills disks."""


class Pixels:
    """An image that is read box by box.

    Attributes
    ----------
    shape : tuple of int
        Shape (Z, Y, X), or (Y, X) for a 2D image.
    dtype : numpy.dtype
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um.
    origin_um : tuple of float or None
        Position of the first voxel, see `Grid`.
    channels : tuple of str
        Channel names.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    spacing_um: Spacing | None
    origin_um: Spacing | None = None
    channels: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """Voxel size and origin."""
        return Grid(self.spacing_um, self.origin_um)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box)."""
        raise NotImplementedError


class MemoryPixels(Pixels):
    """An image in memory.

    Parameters
    ----------
    data : ndarray
        Pixels (C, [Z,] Y, X).
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in um.
    channels : sequence of str
        Channel names.
    origin_um : tuple of float, optional
        Position of the first voxel (Z, Y, X) in um.
    """

    def __init__(
        self,
        data: np.ndarray,
        spacing_um: Spacing | None = None,
        channels: Sequence[str] = (),
        origin_um: Spacing | None = None,
    ) -> None:
        self._data = data
        self.shape = tuple(int(n) for n in data.shape[1:])
        self.dtype = data.dtype
        self.spacing_um = spacing_um
        self.origin_um = origin_um
        self.channels = tuple(channels)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box)."""
        return self._data[(slice(None), *box)]


class FilePixels(Pixels):
    """An image whose boxes are read from its file.

    Parameters
    ----------
    image : OpenImage
    channels : sequence of int
    time : int
    """

    def __init__(self, image: OpenImage, channels: Sequence[int], time: int) -> None:
        self._image, self._numbers, self._time = image, list(channels), time
        pixels = image.pixels
        self._is_stack = pixels.shape[2] > 1
        self.shape = pixels.shape[2:] if self._is_stack else pixels.shape[3:]
        self.dtype = pixels.dtype
        self.spacing_um, self.origin_um = pixels.spacing_um, pixels.origin_um
        self.channels = tuple(pixels.channels[i] for i in channels)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box).

        Raises
        ------
        ImageError
            The file is damaged in this box.
        """
        spatial = box if self._is_stack else (slice(0, 1), *box)
        with wrap_read_errors(self._image.path):
            data = self._image.pixels.read(self._time, self._numbers, spatial)
        return data if self._is_stack else data[:, 0]


def open_pixels(
    path: str | Path,
    channel: str | int | Sequence[str | int] | None = None,
    scene: str | int | None = None,
    time: int | None = None,
    level: int = 0,
    in_memory: float | None = None,
    axes: str | None = None,
    plane: int | None = None,
) -> Pixels:
    """Return the pixels of an image: read at once if it is small, else box by box.

    Parameters
    ----------
    path, channel, scene, time, axes, plane
        As in `cytoloop.io.read.read_image`.
    level : int
        Pyramid level; 0 is the full resolution.
    in_memory : float, optional
        Largest size in bytes that is read at once; default `IN_MEMORY_BYTES`.

    Raises
    ------
    ImageError
        The file is unreadable, or has no such channel, scene, time point or level.
    """
    image = open_image(path, scene, level, axes, plane=plane)
    for caution in image.cautions:
        note(path, caution)
    if math.prod(image.pixels.shape[1:]) > MAX_VALUES:
        size = " x ".join(map(str, image.pixels.shape[1:]))
        raise ImageError(
            str(path),
            f"has {size} values, expected at most {MAX_VALUES}",
            "Check the stated size. Crop a larger image into several.",
        )
    pixels = FilePixels(image, channel_numbers(image, channel), time_number(image, time))
    limit = IN_MEMORY_BYTES if in_memory is None else in_memory
    if image.pixels.nbytes > limit:
        return pixels
    with closing(image):
        whole = read_whole(pixels)
    return MemoryPixels(whole, pixels.spacing_um, pixels.channels, pixels.origin_um)


def level_spacings(
    path: str | Path, scene: str | int | None = None, axes: str | None = None
) -> list[Spacing | None]:
    """Return the voxel size of each pyramid level; an image without a pyramid has one level."""
    with closing(open_image(path, scene, 0, axes)) as first:
        found = [first.pixels.spacing_um]
    for level in range(1, first.levels):
        with closing(open_image(path, scene, level, axes)) as image:
            found.append(image.pixels.spacing_um)
    return found


def read_whole(pixels: Pixels) -> np.ndarray:
    """Return all pixels of an image, (C, *shape)."""
    return pixels.read(tuple(slice(0, n) for n in pixels.shape))


def split_into_slabs(shape: Sequence[int], max_voxels: int) -> list[slice]:
    """Return slices along the first axis, each with at most `max_voxels` or one plane."""
    planes = max(max_voxels // max(math.prod(shape[1:]), 1), 1)
    return [slice(i, min(i + planes, shape[0])) for i in range(0, shape[0], planes)]


def pixels_from_array(
    array: Any, spacing_um: Sequence[float] | None = None, channel_axis: int | None = None
) -> MemoryPixels:
    """Return the pixels of an array.

    Parameters
    ----------
    array : array
        Pixels ([Z,] Y, X), or with a channel axis.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X) in um.
    channel_axis : int, optional
        Axis of the channels; default: the array has no channel axis.
    """
    data = np.asarray(array)
    data = data[None] if channel_axis is None else np.moveaxis(data, channel_axis, 0)
    spacing = tuple(float(s) for s in spacing_um) if spacing_um is not None else None
    names = tuple(str(i) for i in range(len(data)))
    return MemoryPixels(data, spacing, names)  # type: ignore[arg-type]
