"""Read headers and pixels of images of any format."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.io.notes import collect_notes, note
from cytoloop.io.readers.open import (
    OpenImage,
    channel_numbers,
    only_channel,
    open_image,
    time_number,
    wrap_read_errors,
)
from cytoloop.io.voxel_size import Spacing


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


_MAX_HEADERS = 512
_headers: dict[tuple[object, ...], Header] = {}
"""Headers that were read last: the steps of a verb ask for the same ones many times."""


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


def read_header(
    path: str | Path,
    scene: str | int | None = None,
    axes: str | None = None,
    plane: int | None = None,
) -> Header:
    """Return the metadata of an image without reading its pixels.

    Of several scenes the first is described where none is named.

    Parameters
    ----------
    path : str or Path
    scene : str or int, optional
        Scene name or number.
    axes : str, optional
        The axes as the user states them, for example ``TYX``.
    plane : int, optional
        Plane of a stack, from 0: its Z is 1.

    Raises
    ------
    ImageError
        The file is missing, empty or unreadable, or an axis has no known meaning.
    """
    key = _header_key(path, scene, axes, plane)
    if key in _headers:
        return _headers[key]
    with (
        collect_notes() as notes,
        closing(open_image(path, scene, axes=axes, several_scenes=True, plane=plane)) as image,
    ):
        pixels = image.pixels
        header = Header(
            path=str(path),
            shape=pixels.shape,
            dtype=str(pixels.dtype),
            spacing_um=pixels.spacing_um,
            channels=pixels.channels,
            scenes=image.scenes,
        )
    if key and not notes:  # a warning belongs to each reading
        if len(_headers) >= _MAX_HEADERS:
            _headers.clear()
        _headers[key] = header
    return header


def _header_key(
    path: str | Path, scene: str | int | None, axes: str | None, plane: int | None
) -> tuple[object, ...]:
    """Return what a header depends on; empty for folders and for images in several files."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return ()
    if not stat.S_ISREG(found.st_mode):
        return ()
    state = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    return (str(path), str(Path.cwd()), scene, axes, plane, *state)


def read_image(
    path: str | Path,
    channel: str | int | Sequence[str | int] | None = None,
    scene: str | int | None = None,
    time: int | None = None,
    axes: str | None = None,
    plane: int | None = None,
) -> Image:
    """Return the pixels of one scene and time point.

    Parameters
    ----------
    path : str or Path
        An image in a format of `cytoloop.io.readers.formats.FORMATS`.
    channel : str, int or sequence of them, optional
        Channel names or numbers; default: all.
    scene : str or int, optional
        Scene name or number; default: the only one.
    time : int, optional
        Time point, from 0; default: the only one.
    axes : str, optional
        The axes as the user states them, for example ``TYX``.
    plane : int, optional
        Plane of a stack, from 0; default: the whole stack.

    Returns
    -------
    Image
        Data (C, Z, Y, X), or (C, Y, X) if Z is 1.

    Raises
    ------
    ImageError
        The file is unreadable, or has no such channel, scene or time point, or several scenes or
        time points of which none is named.
    """
    with closing(open_image(path, scene, axes=axes, plane=plane)) as image:
        for caution in image.cautions:
            note(path, caution)
        wanted = channel_numbers(image, channel)
        data = _read(image, time_number(image, time), wanted)
        channels = tuple(image.pixels.channels[i] for i in wanted)
        return Image(data, image.pixels.spacing_um, channels)


def read_plane_or_stack(
    path: str | Path,
    channel: str | int | None = None,
    scene: str | int | None = None,
    time: int | None = None,
    axes: str | None = None,
    plane: int | None = None,
) -> np.ndarray:
    """Return the pixels of one channel, ([Z,] Y, X): a label image, a mask or a map.

    Parameters
    ----------
    path, scene, time, axes, plane
        As in `read_image`.
    channel : str or int, optional
        Channel name or number; default: the only one.

    Raises
    ------
    ImageError
        As `read_image`; and several channels of which none is named.
    """
    with closing(open_image(path, scene, axes=axes, plane=plane)) as image:
        number = only_channel(image, channel)
        data: np.ndarray = _read(image, time_number(image, time), [number])[0]
        return data


def _read(image: OpenImage, time: int, channels: Sequence[int]) -> np.ndarray:
    """Return pixels (C, Z, Y, X), or (C, Y, X) for one plane."""
    with wrap_read_errors(image.path):
        data = image.pixels.read(time, channels)
    return data[:, 0] if data.shape[1] == 1 else data
