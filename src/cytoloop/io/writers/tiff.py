"""Images out: OME-TIFF with physical sizes, written whole or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cytoloop.io.atomic import replacing
from cytoloop.io.voxel_size import Spacing

_CLASSIC = 2**32 - 2**25
"""Bytes that a TIFF holds; more make it a BigTIFF."""
_AT_A_TIME = 16
_PACKERS = min(os.cpu_count() or 1, 8)
"""Threads that compress; tifffile's own choice is half the cores."""


def write_image(
    path: str | Path,
    data: Any,
    axes: str,
    spacing_um: Spacing | None = None,
    channels: list[str] | None = None,
    dtype: np.dtype | None = None,
) -> None:
    """Write an OME-TIFF (zlib-compressed); a crash leaves the old file or the new, never half.

    The same image makes the same bytes: its UUID is that of its content.

    Parameters
    ----------
    path : str or Path
        Should end in ``.ome.tif``.
    data : array
        Pixels in the order of `axes`, in memory or on disk (read plane by plane, twice); bool
        becomes uint8.
    axes : str
        For example ``"ZYX"`` or ``"CYX"``.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in micrometres.
    channels : list of str, optional
        Names, one per channel.
    dtype : numpy.dtype, optional
        Of the file; default that of the data.
    """
    path = Path(path)
    metadata: dict[str, object] = {"axes": axes}
    if spacing_um is not None:
        for axis, size in zip("ZYX", spacing_um, strict=True):
            if axis != "Z" or "Z" in axes:
                metadata[f"PhysicalSize{axis}"] = float(size)
                metadata[f"PhysicalSize{axis}Unit"] = "\u00b5m"
    if channels:
        metadata["Channel"] = {"Name": channels if "C" in axes else channels[0]}
    shape = tuple(int(n) for n in data.shape)
    if dtype is None:
        dtype = np.dtype(np.uint8) if data.dtype == bool else np.dtype(data.dtype)
    digest = hashlib.sha256(f"{shape} {dtype.str} {sorted(metadata.items())}".encode())
    for plane in _planes(data, shape, dtype):
        digest.update(plane.data)
    metadata["UUID"] = str(uuid.UUID(bytes=digest.digest()[:16], version=5))
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            _planes(data, shape, dtype),
            shape=shape,
            dtype=dtype,
            bigtiff=math.prod(shape) * dtype.itemsize > _CLASSIC,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            maxworkers=_PACKERS,
            metadata=metadata,
        )


def _planes(data: Any, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield the planes of an image; several at a time are read from disk."""
    if len(shape) == 2:
        yield np.ascontiguousarray(data[:], dtype)
        return
    several = 1 if isinstance(data, np.ndarray) else _AT_A_TIME
    for place in np.ndindex(*shape[:-3]):
        for start in range(0, shape[-3], several):
            some = data[(*place, slice(start, start + several))]
            yield from np.ascontiguousarray(some, dtype)
