"""HDF5 as PlantSeg and ilastik write it: each image data set of a file is a scene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.axes import UNKNOWN
from cytoloop.io.readers.scene import Scene
from cytoloop.io.voxel_size import StatedSize

_AXES = {2: "YX", 3: UNKNOWN + "YX", 4: "CZYX", 5: "TCZYX"}


class Reader:
    """Reader of HDF5 files, see `cytoloop.io.readers.scene.ImageReader`.

    The axes of a data set are (Y, X), (Z, Y, X), (C, Z, Y, X) or (T, C, Z, Y, X), unless ilastik's
    attribute ``axistags`` states others. The voxel size is the attribute ``element_size_um``,
    (Z, Y, X) or (Y, X). Data sets that are stored in other files are not read.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ImageError
        The file holds no image.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        names: list[str] = []
        with h5py.File(self._path) as file:  # skips links to other files
            file.visititems(lambda name, item: names.append(name) if _is_image(item) else None)
        if not names:
            raise ImageError(
                self._path,
                "holds no image: no data set of numbers with 2 to 5 axes",
                "The data must be in this file: links to other files are not followed.",
            )
        self.scenes = tuple(names)

    def close(self) -> None:
        """Do nothing: the file is not kept open."""

    def count_levels(self, scene: int) -> int:
        """Return 1: HDF5 files have no pyramid here."""
        return 1

    def open(self, scene: int, level: int) -> Scene:
        """Return a data set of the file."""
        name = self.scenes[scene]
        with h5py.File(self._path) as file:
            data = file[name]
            sizes = _sizes(data)
            axes = _axes(self._path, name, data)
            if axes.startswith(UNKNOWN) and "Z" in sizes:
                axes = axes.replace(UNKNOWN, "Z")  # the voxel size says it
            array = _LazyArray(self._path, name, data.shape, data.dtype)
        return Scene(array=array, axes=axes, sizes=sizes)


class _LazyArray:
    """A data set as an array that opens its file for each read."""

    def __init__(self, path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype

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


def _sizes(data: h5py.Dataset) -> dict[str, StatedSize]:
    """Return the voxel size that the attribute ``element_size_um`` states."""
    stated = np.ravel(data.attrs.get("element_size_um", ()))
    if len(stated) not in (2, 3):
        return {}
    return {
        axis: (float(size), "um") for axis, size in zip("ZYX"[-len(stated) :], stated, strict=True)
    }


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
