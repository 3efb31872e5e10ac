"""Write OME-TIFF files with voxel sizes."""

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

_MAX_CLASSIC_BYTES = 2**32 - 2**25
"""Largest image in a classic TIFF; a larger image becomes a BigTIFF."""
_PLANES_PER_READ = 16
"""Of an image on disk: the depth of its chunks."""
_VOXELS_PER_READ = 2**25
"""Fewer planes are read at once if they are larger."""
_COMPRESSION_THREADS = min(os.cpu_count() or 1, 8)
"""tifffile's default is half the cores."""


def write_image(
    path: str | Path,
    data: Any,
    axes: str,
    spacing_um: Spacing | None = None,
    channels: list[str] | None = None,
    dtype: np.dtype | None = None,
) -> None:
    """Write an OME-TIFF with zlib compression; a crash leaves the old file or the new file.

    The same image gives the same bytes: its UUID is computed from its content.

    Parameters
    ----------
    path : str or Path
        Should end in ``.ome.tif``.
    data : array
        Pixels in the order of `axes`, in memory or on disk; planes are read twice. bool becomes
        uint8.
    axes : str
        For example ``"ZYX"`` or ``"CYX"``.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in um.
    channels : list of str, optional
        One name per channel.
    dtype : numpy.dtype, optional
        dtype of the file; default: the dtype of the data.
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
            bigtiff=math.prod(shape) * dtype.itemsize > _MAX_CLASSIC_BYTES,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            maxworkers=_COMPRESSION_THREADS,
            metadata=metadata,
        )


def _planes(data: Any, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield the planes of an image; an image on disk is read in groups of planes."""
    if len(shape) == 2:
        yield np.ascontiguousarray(data[:], dtype)
        return
    most = max(_VOXELS_PER_READ // math.prod(shape[-2:]), 1)
    count = 1 if isinstance(data, np.ndarray) else min(_PLANES_PER_READ, most)
    for index in np.ndindex(*shape[:-3]):
        for start in range(0, shape[-3], count):
            planes = data[(*index, slice(start, start + count))]
            yield from np.ascontiguousarray(planes, dtype)
