"""HDF5 as PlantSeg and ilastik write it: each image data set of a file is a scene.

This module is imported only when an HDF5 file is opened: bioio_base takes seconds to import.
"""

from __future__ import annotations

import json
from typing import Any

import dask.array as da
import h5py
import numpy as np
import xarray as xr
from bioio_base.constants import METADATA_UNPROCESSED
from bioio_base.reader import Reader as BaseReader
from bioio_base.types import PhysicalPixelSizes

from cytoloop.errors import ImageError

_AXES = {2: "YX", 3: "ZYX", 4: "CZYX", 5: "TCZYX"}


class Reader(BaseReader):
    """Reader of HDF5 files for bioio.

    The axes of a data set are (Y, X), (Z, Y, X), (C, Z, Y, X) or (T, C, Z, Y, X), unless ilastik's
    attribute ``axistags`` states others. The voxel size is the attribute ``element_size_um``,
    (Z, Y, X) or (Y, X). Data sets that are stored in other files are not read.

    Parameters
    ----------
    image : str or Path
        The file.
    """

    def __init__(self, image: Any, **kwargs: Any) -> None:
        self._path = str(image)
        self._names: tuple[str, ...] | None = None

    @staticmethod
    def _is_supported_image(fs: Any, path: str, **kwargs: Any) -> bool:
        return h5py.is_hdf5(path)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Paths of the image data sets in the file."""
        if self._names is None:
            names: list[str] = []
            with h5py.File(self._path) as file:  # skips links to other files
                file.visititems(lambda name, item: names.append(name) if _is_image(item) else None)
            if not names:
                raise ImageError(
                    self._path,
                    "holds no image: no data set of numbers with 2 to 5 axes",
                    "The data must be in this file: links to other files are not followed.",
                )
            self._names = tuple(names)
        return self._names

    @property
    def physical_pixel_sizes(self) -> PhysicalPixelSizes:
        """Voxel size in um from the attribute ``element_size_um``."""
        with h5py.File(self._path) as file:
            stated = file[self.current_scene].attrs.get("element_size_um", ())
        sizes = [float(size) for size in np.ravel(stated)]
        if len(sizes) not in (2, 3) or not all(0 < size < np.inf for size in sizes):
            return PhysicalPixelSizes(None, None, None)
        return PhysicalPixelSizes(sizes[-3] if len(sizes) == 3 else None, *sizes[-2:])

    def _read_delayed(self) -> xr.DataArray:
        with h5py.File(self._path) as file:
            data = file[self.current_scene]
            axes = _axes(self._path, self.current_scene, data)
            pixels = _LazyArray(self._path, self.current_scene, data.shape, data.dtype)
        chunks = [-1 if axis in "ZYX" else 1 for axis in axes]
        meta = np.empty(0, pixels.dtype)  # without it, dask opens the file
        array = da.from_array(pixels, chunks=chunks, name=False, fancy=False, meta=meta)
        return xr.DataArray(array, dims=list(axes), attrs={METADATA_UNPROCESSED: None})

    def _read_immediate(self) -> xr.DataArray:
        return self._read_delayed().compute()


class _LazyArray:
    """A data set as an array that opens its file for each read."""

    def __init__(self, path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype
        self.ndim = len(shape)

    def __getitem__(self, part: Any) -> np.ndarray:
        with h5py.File(self.path) as file:
            return file[self.name][part]


def _is_image(item: Any) -> bool:
    """Return whether a member of a file is an image that is stored in the file itself."""
    return (
        isinstance(item, h5py.Dataset)
        and item.ndim in _AXES
        and item.dtype.kind in "biuf"
        and item.size > 0
        and not item.is_virtual
        and not item.external
    )


def _axes(path: str, name: str, data: h5py.Dataset) -> str:
    """Return the axes of a data set, for example ``"CZYX"``.

    Raises
    ------
    ImageError
        ``axistags`` do not fit the shape.
    """
    tags = data.attrs.get("axistags")
    if tags is None:
        return _AXES[data.ndim]
    try:
        axes = "".join(str(axis["key"]).upper() for axis in json.loads(tags)["axes"])
    except (ValueError, TypeError, KeyError) as error:
        raise _axistags_error(path, name, data, "unreadable") from error
    if (
        len(axes) != data.ndim
        or len(set(axes)) != len(axes)
        or not {*"YX"} <= {*axes} <= {*"TCZYX"}
    ):
        raise _axistags_error(path, name, data, repr(axes[:10]))
    return axes


def _axistags_error(path: str, name: str, data: h5py.Dataset, found: str) -> ImageError:
    return ImageError(
        f"{path}, data set {name!r}",
        f"axistags are {found} for shape {data.shape}",
        "Expected one key of t, c, z, y, x for each axis; correct or remove the attribute.",
    )
