"""What is written for an image: a volume, or several as channels, in the form that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.images import Spacing, write_image, write_zarr
from cytoloop.inference.scratch import Scratch
from cytoloop.instances.blocks import Volume

_ENDINGS = {"ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}


class Stacked:
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


def form_of(asked: str, scratch: Scratch) -> str:
    """Return the form of files; ``auto`` is OME-Zarr for what does not fit into memory."""
    if asked != "auto":
        return asked
    return "ome-tiff" if scratch.folder is None else "ome-zarr"


def write_volume(
    output: Path,
    kind: str,
    name: str,
    volume: Volume | Stacked,
    spacing_um: Spacing | None,
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
    spacing_um : tuple of float or None
        (Z, Y, X).
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
        write_image(output / cell, volume, axes, spacing_um, list(channels) or [kind], dtype)
    else:
        write_zarr(output / cell, volume, axes, spacing_um, kind, channels=channels)
    return cell
