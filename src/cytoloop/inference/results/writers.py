"""What is written for an image: a volume, or several as channels, in the form that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.instances.blocks import Volume
from cytoloop.io.voxel_size import Grid
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr
from cytoloop.manifest import format_spacing

log = logging.getLogger(__name__)

_ENDINGS = {"ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}


class ChannelStack:
    """Volumes as the channels of one, read and never copied together.

    Parameters
    ----------
    parts : sequence of Volume
        ([Z,] Y, X) each, of one shape and dtype.
    """

    def __init__(self, parts: Sequence[Volume]) -> None:
        self._parts = list(parts)
        self.shape = (len(self._parts), *self._parts[0].shape)
        self.dtype = np.dtype(self._parts[0].dtype)

    def __getitem__(self, box: Any) -> np.ndarray:
        channel, *rest = box
        if isinstance(channel, slice):
            return np.stack([np.asarray(one[tuple(rest)]) for one in self._parts[channel]])
        return np.asarray(self._parts[channel][tuple(rest)])


def choose_format(name: str, asked: str, scratch: VolumeStorage, grid: Grid) -> str:
    """Return the form of an image's files.

    ``auto`` is OME-Zarr for what does not fit into memory, and for an image that does not begin at
    0: viewers move no OME-TIFF, and it would lie beside its image.
    """
    if asked != "auto":
        if asked == "ome-tiff" and grid.origin_um is not None:
            log.warning(
                "%s begins at %s um, and viewers move no OME-TIFF: its results will lie beside it. "
                "Take format=ome-zarr",
                name,
                format_spacing(grid.origin_um),
            )
        return asked
    return "ome-tiff" if scratch.folder is None and grid.origin_um is None else "ome-zarr"


def write_volume(
    output: Path,
    kind: str,
    name: str,
    volume: Volume | ChannelStack,
    grid: Grid,
    form: str,
    channels: Sequence[str] = (),
) -> str:
    """Write a volume; return its cell of the table.

    Parameters
    ----------
    output : Path
    kind, name : str
        Folder and name of the file.
    volume : Volume or Stacked
        ([Z,] Y, X); with channels (C, [Z,] Y, X).
    grid : Grid
        How the image lies in space.
    form : str
        ``ome-tiff`` or ``ome-zarr``.
    channels : sequence of str
        Names; none: the one channel is called as the kind.
    """
    sides = len(volume.shape) - (1 if channels else 0)
    axes = ("C" if channels else "") + "ZYX"[-sides:]
    cell = f"{kind}/{name}{_ENDINGS[form]}"
    if form == "ome-tiff":
        # OME-TIFF knows no floats of 16 bits
        dtype = np.dtype(np.float32 if volume.dtype == np.float16 else volume.dtype)
        write_image(output / cell, volume, axes, grid.spacing_um, list(channels) or [kind], dtype)
    else:
        sizes, origin = grid.spacing_um, grid.origin_um
        write_zarr(output / cell, volume, axes, sizes, kind, channels=channels, origin_um=origin)
    return cell
