"""Writes the volumes of an image as OME-TIFF or OME-Zarr."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import OutputError
from cytoloop.instances.blocks import Volume
from cytoloop.io.voxel_size import Grid
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr
from cytoloop.manifest import format_spacing

log = logging.getLogger(__name__)

_ENDINGS = {"ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr", "ome-zarr-0.5": ".ome.zarr"}
_VERSIONS = {"ome-zarr": "0.4", "ome-zarr-0.5": "0.5"}


@contextmanager
def report_write_errors(folder: Path) -> Iterator[None]:
    """Turn a failed write inside the block into an error with a repair.

    Raises
    ------
    OutputError
        The disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            str(error.filename or folder),
            f"cannot be written: {error.strerror or error}",
            "Free disk space or use another output=, and run again: finished images are kept.",
        ) from error


class ChannelStack:
    """Volumes as the channels of one volume, without a copy in memory.

    Parameters
    ----------
    channels : sequence of Volume
        ([Z,] Y, X) each, of one shape and dtype.
    """

    def __init__(self, channels: Sequence[Volume]) -> None:
        self._channels = list(channels)
        self.shape = (len(self._channels), *self._channels[0].shape)
        self.dtype = np.dtype(self._channels[0].dtype)

    def __getitem__(self, box: Any) -> np.ndarray:
        channel, *rest = box
        if isinstance(channel, slice):
            return np.stack([np.asarray(one[tuple(rest)]) for one in self._channels[channel]])
        return np.asarray(self._channels[channel][tuple(rest)])


def choose_format(name: str, wanted: str, is_on_disk: bool, grid: Grid) -> str:
    """Return the format of an image's files, ``ome-tiff``, ``ome-zarr`` or ``ome-zarr-0.5``.

    ``auto`` is OME-Zarr for an image that does not fit into memory, and for one with an origin:
    viewers ignore the origin of an OME-TIFF and would show the result beside its image.

    Parameters
    ----------
    name : str
        Of the image, for the warning.
    wanted : str
        ``auto``, ``ome-tiff``, ``ome-zarr`` or ``ome-zarr-0.5``.
    is_on_disk : bool
        Whether the image's volumes are on disk.
    grid : Grid
    """
    if wanted == "auto":
        return "ome-zarr" if is_on_disk or grid.origin_um is not None else "ome-tiff"
    if wanted == "ome-tiff" and grid.origin_um is not None:
        log.warning(
            "%s begins at %s um. Viewers ignore the origin of an OME-TIFF and will show the "
            "results beside the image; use format=ome-zarr",
            name,
            format_spacing(grid.origin_um),
        )
    return wanted


def write_volume(
    folder: Path,
    kind: str,
    name: str,
    volume: Volume | ChannelStack,
    grid: Grid,
    file_format: str,
    channels: Sequence[str] = (),
) -> str:
    """Write a volume as ``KIND/NAME.ome.*``; return that path, relative to the folder.

    Parameters
    ----------
    folder : Path
        Of the predictions.
    kind, name : str
        Sub-folder and name of the file.
    volume : Volume or ChannelStack
        ([Z,] Y, X); with channels (C, [Z,] Y, X).
    grid : Grid
        How the image lies in space.
    file_format : str
        ``ome-tiff``, ``ome-zarr`` (NGFF 0.4) or ``ome-zarr-0.5``.
    channels : sequence of str
        Names; without any the single channel is named like the kind.
    """
    ndim = len(volume.shape) - (1 if channels else 0)
    axes = ("C" if channels else "") + "ZYX"[-ndim:]
    cell = f"{kind}/{name}{_ENDINGS[file_format]}"
    if file_format == "ome-tiff":
        # OME-TIFF has no 16-bit floats
        dtype = np.dtype(np.float32 if volume.dtype == np.float16 else volume.dtype)
        write_image(folder / cell, volume, axes, grid.spacing_um, list(channels) or [kind], dtype)
    else:
        spacing, origin = grid.spacing_um, grid.origin_um
        write_zarr(
            folder / cell,
            volume,
            axes,
            spacing,
            kind,
            channels=channels,
            origin_um=origin,
            version=_VERSIONS[file_format],
        )
    return cell
