"""Formats that a plugin of bioio reads: CZI, ND2, LIF and what the user has installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.io.readers.scene import Scene
from cytoloop.io.voxel_size import StatedSize

_MOSAIC = "M"


class BioioReader:
    """A reader of bioio as an `cytoloop.io.readers.scene.ImageReader`.

    bioio's own image class keeps T, C, Z, Y, X and takes the first of every other axis; the reader
    beneath it states all axes.

    Parameters
    ----------
    path : str or Path
    reader : bioio_base.reader.Reader
    """

    mirrored = ""
    """Axes that the format stores in reverse."""

    def __init__(self, path: str | Path, reader: Any) -> None:
        self._path, self._reader = path, reader
        self.scenes = tuple(str(name) for name in reader.scenes)

    def close(self) -> None:
        """Do nothing: the file is not kept open."""

    def count_levels(self, scene: int) -> int:
        """Return the number of pyramid levels."""
        self._reader.set_scene(scene)
        return len(self._reader.resolution_levels)

    def open(self, scene: int, level: int) -> Scene:
        """Return a scene at a pyramid level."""
        reader = self._reader
        reader.set_scene(scene)
        if level:
            reader.set_resolution_level(level)
        is_mosaic = _MOSAIC in reader.dims.order
        found = reader.mosaic_xarray_dask_data if is_mosaic else reader.xarray_dask_data
        axes = "".join(str(axis) for axis in found.dims)
        return Scene(
            array=_Computed(found.data),
            axes=axes,
            channels=tuple(map(str, reader.channel_names or ())),
            sizes=self._sizes(),
            mirrored="".join(axis for axis in self.mirrored if axis in axes),
        )

    def _sizes(self) -> dict[str, StatedSize]:
        try:
            size = self._reader.physical_pixel_sizes
            properties = getattr(self._reader, "dimension_properties", None)
        except Exception:  # plugins raise various errors if a file states no scale
            return {}
        found: dict[str, StatedSize] = {}
        for axis in "ZYX":
            unit = getattr(getattr(properties, axis, None), "unit", None)
            found[axis] = (getattr(size, axis, None), str(unit) if unit else None)
        return found


class _Computed:
    """A dask array whose parts are computed when they are asked for."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, np.dtype(array.dtype)

    def __getitem__(self, part: Any) -> np.ndarray:
        return np.asarray(self._array[part].compute())


def open_plugin(path: str | Path, module: str) -> BioioReader:
    """Return a reader of a file by the plugin of bioio in a module."""
    return BioioReader(path, importlib.import_module(module).Reader(path))


def open_any(path: str | Path) -> BioioReader:
    """Return a reader of a file by the plugin that bioio chooses."""
    from bioio import BioImage

    return BioioReader(path, BioImage(path).reader)
