"""Pixels by boxes: of an image in memory, or of one that does not fit there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from cytoloop.io.read import read_image
from cytoloop.io.readers.open import channel_numbers, open_scene, read_errors
from cytoloop.io.voxel_size import Grid, Spacing, read_origin, read_spacing

IN_MEMORY_BYTES = 2**28
"""Bytes up to which an image is read whole: one read is faster than many."""


class Pixels:
    """An image that gives its voxels box by box.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), or (Y, X) of a 2D image.
    dtype : numpy.dtype
    spacing_um : tuple of float or None
        (Z, Y, X).
    origin_um : tuple of float or None
        Where it begins, see `Grid`.
    channels : tuple of str
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    spacing_um: Spacing | None
    origin_um: Spacing | None = None
    channels: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """How the voxels lie in space."""
        return Grid(self.spacing_um, self.origin_um)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box, (C, *box)."""
        raise NotImplementedError


class MemoryPixels(Pixels):
    """An image in memory.

    Parameters
    ----------
    data : ndarray
        (C, [Z,] Y, X).
    spacing_um : tuple of float, optional
        (Z, Y, X).
    channels : sequence of str
    origin_um : tuple of float, optional
        (Z, Y, X).
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
        """Return a box, (C, *box)."""
        return self._data[(slice(None), *box)]


class FilePixels(Pixels):
    """An image that is read box by box.

    Parameters
    ----------
    path : str or Path
    channel, scene, time
        As in `read_image`.
    level : int
        Of a pyramid; 0 is the full resolution.
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
        with read_errors(path):
            bio = open_scene(path, scene, time, level)
            names, wanted = channel_numbers(path, bio, channel)
            array = _planes_of_tiff(path, bio, time, level)
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
        """Return a box, (C, *box).

        Raises
        ------
        ImageError
            The file is damaged there.
        """
        with read_errors(self._path):
            return np.asarray(self._array[(slice(None), *box)].compute())


def _planes_of_tiff(path: str | Path, bio: Any, time: int, level: int) -> Any:
    """Return the stack of a TIFF, (C, Z, Y, X), whose planes are read as they are asked for.

    bioio decodes all of a stack for any box of it, or opens the file anew for each plane.

    Returns
    -------
    dask.array.Array or None
        None where the file is no TIFF, or has other axes than bioio says.
    """
    import dask.array

    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return None
    tif = tifffile.TiffFile(path)  # open as long as the array
    series = tif.series[bio.current_scene_index]
    axes = str(series.axes)
    if "Z" not in axes:
        axes = axes.replace("I", "Z").replace("Q", "Z")  # pages that nothing is said of
    if len(set(axes)) < len(axes) or set(axes) - set("TCZYX") or not axes.endswith("YX"):
        tif.close()
        return None
    array = dask.array.from_zarr(zarr.open(series.aszarr(level=level, chunkmode="page"), mode="r"))
    for axis in "TCZ":
        array = array if axis in axes else array[None]
    order = [axis for axis in "ZCT" if axis not in axes] + list(axes)
    array = array.transpose([order.index(axis) for axis in "TCZYX"])
    known = tuple(int(bio.dims[axis][0]) for axis in "TCZYX")
    return array[time] if array.shape == known and array.dtype == bio.dtype else None


def open_pixels(
    path: str | Path,
    channel: str | int | list[str | int] | None = None,
    scene: str | int | None = None,
    time: int = 0,
    level: int = 0,
    in_memory: float = IN_MEMORY_BYTES,
) -> Pixels:
    """Return an image's pixels: read at once where it is small, box by box where it is not.

    Parameters
    ----------
    path, channel, scene, time
        As in `read_image`.
    level : int
        Of a pyramid; 0 is the full resolution.
    in_memory : float
        Bytes up to which it is read at once.

    Raises
    ------
    ImageError
        Unreadable file, or a channel, scene, time point or level that it does not have.
    """
    with read_errors(path):
        bio = open_scene(path, scene, time, level)
        size = math.prod(int(bio.dims[axis][0]) for axis in "CZYX")
        whole = size * np.dtype(bio.dtype).itemsize <= in_memory
        samples = "S" in bio.dims.order  # an RGB picture: its samples are channels
        origin = read_origin(path, bio)
    if level == 0 and (whole or samples):
        image = read_image(path, channel, scene, time)
        return MemoryPixels(image.data, image.spacing_um, image.channels, origin)
    return FilePixels(path, channel, scene, time, level)


def level_spacings(path: str | Path, scene: str | int | None = None) -> list[Spacing | None]:
    """Return the voxel size of each level of a pyramid; one entry for an image without."""
    with read_errors(path):
        bio = open_scene(path, scene)
        found: list[Spacing | None] = []
        for level in bio.resolution_levels:
            bio.set_resolution_level(level)
            found.append(read_spacing(path, bio))
        return found


def read_whole(pixels: Pixels) -> np.ndarray:
    """Return all of an image, (C, *shape)."""
    return pixels.read(tuple(slice(0, n) for n in pixels.shape))


def split_into_slabs(shape: Sequence[int], most_voxels: int) -> list[slice]:
    """Return slices along the first axis that hold about so many voxels each."""
    planes = max(most_voxels // max(math.prod(shape[1:]), 1), 1)
    return [slice(i, min(i + planes, shape[0])) for i in range(0, shape[0], planes)]


def pixels_from_array(
    array: Any, spacing_um: Sequence[float] | None = None, channel_axis: int | None = None
) -> MemoryPixels:
    """Return the pixels of an array.

    Parameters
    ----------
    array : array
        ([Z,] Y, X), or with a channel axis.
    spacing_um : sequence of float, optional
        (Z, Y, X).
    channel_axis : int, optional
    """
    data = np.asarray(array)
    data = data[None] if channel_axis is None else np.moveaxis(data, channel_axis, 0)
    spacing = tuple(float(s) for s in spacing_um) if spacing_um is not None else None
    names = tuple(str(i) for i in range(len(data)))
    return MemoryPixels(data, spacing, names)  # type: ignore[arg-type]
