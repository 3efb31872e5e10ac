"""Pixels of an image, read box by box: from memory, or from a file larger than the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from cytoloop.io.read import read_image
from cytoloop.io.readers.open import channel_numbers, open_scene, wrap_read_errors
from cytoloop.io.voxel_size import Grid, Spacing, read_origin, read_spacing

IN_MEMORY_BYTES = 2**28
"""Largest image in bytes that is read at once, which is faster than many reads."""


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
    path : str or Path
    channel, scene, time
        As in `read_image`.
    level : int
        Pyramid level; 0 is the full resolution.
    """

    def __init__(
        self,
        path: str | Path,
        channel: str | int | list[str | int] | None = None,
        scene: str | int | None = None,
        time: int = 0,
        level: int = 0,
    ) -> None:
        self._path = path
        with wrap_read_errors(path):
            bio = open_scene(path, scene, time, level)
            names, wanted = channel_numbers(path, bio, channel)
            array = _tiff_planes(path, bio, time, level)
            if array is None:
                array = bio.get_image_dask_data("CZYX", T=time)
            array = array[wanted]
            self.origin_um = read_origin(path, bio, level)
        self._array = array[:, 0] if array.shape[1] == 1 else array
        self.shape = tuple(int(n) for n in self._array.shape[1:])
        self.dtype = np.dtype(self._array.dtype)
        self.spacing_um = read_spacing(path, bio)
        self.channels = tuple(names[i] for i in wanted)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return the pixels of a box, (C, *box).

        Raises
        ------
        ImageError
            The file is damaged in this box.
        """
        with wrap_read_errors(self._path):
            return np.asarray(self._array[(slice(None), *box)].compute())


def _tiff_planes(path: str | Path, bio: Any, time: int, level: int) -> Any:
    """Return the stack of a TIFF as a lazy array (C, Z, Y, X) with one chunk per plane.

    bioio decodes the whole stack for any box, or opens the file again for each plane.

    Returns
    -------
    dask.array.Array or None
        None if the file is not a TIFF, or if its axes differ from bioio's.
    """
    import dask.array

    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return None
    tif = tifffile.TiffFile(path)  # stays open as long as the array
    series = tif.series[bio.current_scene_index]
    axes = str(series.axes)
    if "Z" not in axes:
        axes = axes.replace("I", "Z").replace("Q", "Z")  # pages without metadata
    if len(set(axes)) < len(axes) or set(axes) - set("TCZYX") or not axes.endswith("YX"):
        tif.close()
        return None
    array = dask.array.from_zarr(zarr.open(series.aszarr(level=level, chunkmode="page"), mode="r"))
    for axis in "TCZ":
        array = array if axis in axes else array[None]
    order = [axis for axis in "ZCT" if axis not in axes] + list(axes)
    array = array.transpose([order.index(axis) for axis in "TCZYX"])
    expected = tuple(int(bio.dims[axis][0]) for axis in "TCZYX")
    return array[time] if array.shape == expected and array.dtype == bio.dtype else None


def open_pixels(
    path: str | Path,
    channel: str | int | list[str | int] | None = None,
    scene: str | int | None = None,
    time: int = 0,
    level: int = 0,
    in_memory: float | None = None,
) -> Pixels:
    """Return the pixels of an image: read at once if it is small, else box by box.

    Parameters
    ----------
    path, channel, scene, time
        As in `read_image`.
    level : int
        Pyramid level; 0 is the full resolution.
    in_memory : float, optional
        Largest size in bytes that is read at once; default `IN_MEMORY_BYTES`.

    Raises
    ------
    ImageError
        The file is unreadable, or has no such channel, scene, time point or level.
    """
    with wrap_read_errors(path):
        bio = open_scene(path, scene, time, level)
        size = math.prod(int(bio.dims[axis][0]) for axis in "CZYX")
        limit = IN_MEMORY_BYTES if in_memory is None else in_memory
        is_small = size * np.dtype(bio.dtype).itemsize <= limit
        samples = "S" in bio.dims.order  # RGB: the samples are channels
        origin = read_origin(path, bio)
    if level == 0 and (is_small or samples):
        image = read_image(path, channel, scene, time)
        return MemoryPixels(image.data, image.spacing_um, image.channels, origin)
    return FilePixels(path, channel, scene, time, level)


def level_spacings(path: str | Path, scene: str | int | None = None) -> list[Spacing | None]:
    """Return the voxel size of each pyramid level; an image without a pyramid has one level."""
    with wrap_read_errors(path):
        bio = open_scene(path, scene)
        found: list[Spacing | None] = []
        for level in bio.resolution_levels:
            bio.set_resolution_level(level)
            found.append(read_spacing(path, bio))
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
