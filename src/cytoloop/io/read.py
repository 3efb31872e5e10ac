"""Read headers and pixels of images of any format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.io.readers.open import (
    channel_names,
    channel_numbers,
    is_rgb,
    open_scene,
    wrap_read_errors,
)
from cytoloop.io.voxel_size import Spacing, read_spacing


@dataclass(frozen=True)
class Header:
    """Metadata of an image file.

    Attributes
    ----------
    path : str
        The path as given.
    shape : tuple of int
        Shape (T, C, Z, Y, X) of the scene.
    dtype : str
        Numpy name, for example ``uint16``.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None if the file states none.
    channels : tuple of str
        Channel names.
    scenes : tuple of str
        Scene names.
    """

    path: str
    shape: tuple[int, int, int, int, int]
    dtype: str
    spacing_um: Spacing | None
    channels: tuple[str, ...]
    scenes: tuple[str, ...]

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape (Z, Y, X), or (Y, X) if Z is 1."""
        return self.shape[2:] if self.shape[2] > 1 else self.shape[3:]


@dataclass(frozen=True)
class Image:
    """Pixels of an image with voxel size and channel names.

    Attributes
    ----------
    data : ndarray
        (C, Z, Y, X), or (C, Y, X) for a 2D image, in the file's own dtype.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None if the file states none.
    channels : tuple of str
        Names of the channels in `data`.
    """

    data: np.ndarray
    spacing_um: Spacing | None
    channels: tuple[str, ...]


def read_header(path: str | Path, scene: str | int | None = None) -> Header:
    """Return the metadata of an image without reading its pixels.

    Raises
    ------
    ImageError
        The file is missing, empty or unreadable.
    """
    with wrap_read_errors(path):
        bio = open_scene(path, scene)
        t, c, z, y, x = (int(bio.dims[axis][0]) for axis in "TCZYX")
        names = channel_names(bio)
        return Header(
            path=str(path),
            shape=(t, len(names) if is_rgb(bio) else c, z, y, x),
            dtype=str(bio.dtype),
            spacing_um=read_spacing(path, bio),
            channels=tuple(names),
            scenes=tuple(str(s) for s in bio.scenes),
        )


def read_image(
    path: str | Path,
    channel: str | int | list[str | int] | None = None,
    scene: str | int | None = None,
    time: int = 0,
) -> Image:
    """Return the pixels of one scene and time point.

    Parameters
    ----------
    path : str or Path
        Any file that bioio reads.
    channel : str, int or list of them, optional
        Channel names or numbers; default: all.
    scene : str or int, optional
        Scene name or number; default: the first.
    time : int
        Time point, from 0.

    Returns
    -------
    Image
        Data (C, Z, Y, X), or (C, Y, X) if Z is 1.

    Raises
    ------
    ImageError
        The file is unreadable, or has no such channel, scene or time point.
    """
    with wrap_read_errors(path):
        bio = open_scene(path, scene, time)
        names, wanted = channel_numbers(path, bio, channel)
        if is_rgb(bio):
            data = np.asarray(bio.get_image_dask_data("SZYX", T=time).compute())[wanted]
        elif _is_whole(bio, wanted):
            data = np.asarray(bio.get_image_data("CZYX"))  # much faster than dask
        else:
            data = np.asarray(bio.get_image_dask_data("CZYX", T=time, C=wanted).compute())
    if data.shape[1] == 1:
        data = data[:, 0]
    return Image(data, read_spacing(path, bio), tuple(names[i] for i in wanted))


def _is_whole(bio: Any, wanted: list[int]) -> bool:
    """Return whether all of a scene is requested, and no reader drops its Y or X axis of size 1."""
    t, c, y, x = (int(bio.dims[axis][0]) for axis in "TCYX")
    return t == 1 and wanted == list(range(c)) and min(y, x) > 1
