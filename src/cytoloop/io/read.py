"""Images in: one door to every format, with physical pixel sizes that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.io.readers.open import channel_names, channel_numbers, is_rgb, open_scene, read_errors
from cytoloop.io.voxel_size import Spacing, read_spacing


@dataclass(frozen=True)
class Header:
    """What a file says about itself, without its pixels.

    Attributes
    ----------
    path : str
        As given.
    shape : tuple of int
        (T, C, Z, Y, X) of the scene.
    dtype : str
        Numpy name, for example ``uint16``.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None where the file does not say.
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
        """(Z, Y, X), or (Y, X) where Z is 1."""
        return self.shape[2:] if self.shape[2] > 1 else self.shape[3:]


@dataclass(frozen=True)
class Image:
    """Pixels with what is needed to measure in them.

    Attributes
    ----------
    data : ndarray
        (C, Z, Y, X), or (C, Y, X) for a 2D image, in the file's own dtype.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None where the file does not say.
    channels : tuple of str
        Names of the channels that were read.
    """

    data: np.ndarray
    spacing_um: Spacing | None
    channels: tuple[str, ...]


def read_header(path: str | Path, scene: str | int | None = None) -> Header:
    """Return shape, dtype, spacing and names without reading pixels.

    Raises
    ------
    ImageError
        The file is missing, empty or of no readable format.
    """
    with read_errors(path):
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
    """Read one scene and time point of an image.

    Parameters
    ----------
    path : str or Path
        Any file that bioio reads.
    channel : str, int or list of them, optional
        Channel names or numbers; default all.
    scene : str or int, optional
        Scene name or number; default the first.
    time : int
        Time point, from 0.

    Returns
    -------
    Image
        Data (C, Z, Y, X); (C, Y, X) where Z is 1.

    Raises
    ------
    ImageError
        Unreadable file, or a channel, scene or time point that it does not have.
    """
    with read_errors(path):
        bio = open_scene(path, scene, time)
        names, wanted = channel_numbers(path, bio, channel)
        if is_rgb(bio):
            data = np.asarray(bio.get_image_dask_data("SZYX", T=time).compute())[wanted]
        elif _is_whole(bio, wanted):
            data = np.asarray(bio.get_image_data("CZYX"))  # all of it: far faster without dask
        else:
            data = np.asarray(bio.get_image_dask_data("CZYX", T=time, C=wanted).compute())
    if data.shape[1] == 1:
        data = data[:, 0]
    return Image(data, read_spacing(path, bio), tuple(names[i] for i in wanted))


def _is_whole(bio: Any, wanted: list[int]) -> bool:
    """Tell whether all of a scene is asked for, and has sides that no reader squeezes away."""
    t, c, y, x = (int(bio.dims[axis][0]) for axis in "TCYX")
    return t == 1 and wanted == list(range(c)) and min(y, x) > 1
