"""OME-Zarr out: a pyramid (NGFF 0.4) with physical sizes, written block by block, whole or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.atomic import replacing_folder
from cytoloop.errors import OutputError
from cytoloop.images.spacing import Spacing

CHUNK = {"Z": 16, "Y": 256, "X": 256}
_SMALL = 512
"""An axis as short as this is not halved in the next level."""


def write_zarr(
    path: str | Path,
    data: Any,
    axes: str,
    spacing_um: Spacing | None = None,
    name: str = "image",
    boxes: Iterator[tuple[slice, ...]] | None = None,
) -> None:
    """Write an OME-Zarr; a crash leaves the old one or the new one, never half.

    Axes longer than 512 are halved from level to level, by taking every second voxel, so that
    labels stay labels. Version 0.4 of the format (Zarr 2): Fiji, napari and bioio read it.

    Parameters
    ----------
    path : str or Path
        Should end in ``.ome.zarr``.
    data : array
        Pixels in the order of `axes`, in memory or on disk.
    axes : str
        ``"ZYX"`` or ``"YX"``.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in micrometres.
    name : str
        Of the image and its channel.
    boxes : iterator of tuple of slice, optional
        In which steps it is written; default in slabs of 64 planes (rows in 2D).

    Raises
    ------
    OutputError
        The libraries are too old to write it (Python 3.10).
    """
    try:
        from bioio_ome_zarr.writers import Channel, OMEZarrWriter
    except ImportError as error:  # an older bioio-ome-zarr, on Python 3.10
        raise OutputError(
            str(path),
            "this installation cannot write OME-Zarr",
            "Take format=ome-tiff, or Python 3.11.",
        ) from error

    shape = tuple(int(n) for n in data.shape)
    dtype = np.dtype(np.uint8) if data.dtype == bool else np.dtype(data.dtype)
    sizes = (
        [1.0] * len(axes) if spacing_um is None else [float(s) for s in spacing_um[-len(axes) :]]
    )
    chunk = tuple(min(CHUNK[a], n) for a, n in zip(axes, shape, strict=True))
    with replacing_folder(path) as temporary:
        writer = OMEZarrWriter(
            str(temporary),
            level_shapes=[shape],
            dtype=dtype,
            chunk_shape=chunk,
            zarr_format=2,
            image_name=name,
            channels=[Channel(label=name, color="FFFFFF")],
            axes_names=[a.lower() for a in axes],
            axes_types=["space"] * len(axes),
            axes_units=[None if spacing_um is None else "micrometer"] * len(axes),
            physical_pixel_size=sizes,
        )
        for box in boxes or _slabs(shape):
            writer.write_region(np.asarray(data[box]).astype(dtype, copy=False), box)
        _add_levels(temporary, _pyramid(shape), chunk, sizes)


def _pyramid(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shapes of all levels."""
    levels = [tuple(shape)]
    while max(levels[-1]) > _SMALL:
        levels.append(tuple(n // 2 if n > _SMALL else n for n in levels[-1]))
    return levels


def _add_levels(
    folder: Path, shapes: Sequence[tuple[int, ...]], chunk: Sequence[int], sizes: Sequence[float]
) -> None:
    """Add the levels below the full one, of the first of two voxels each.

    bioio's writer takes others where a side is odd, differently from block to block, leaves some
    out, and states a size that is not double: seen from afar labels would lie beside their image.
    """
    import zarr

    group = zarr.open_group(str(folder), mode="r+")
    attributes: Any = group.attrs.asdict()
    datasets = attributes["multiscales"][0]["datasets"]
    above: Any = group["0"]
    factors = np.ones(len(sizes))
    for number, shape in enumerate(shapes[1:], start=1):
        step = [2 if n < m else 1 for n, m in zip(shape, above.shape, strict=True)]
        level: Any = group.create_array(
            str(number),
            shape=shape,
            chunks=tuple(map(min, chunk, shape)),
            dtype=above.dtype,
            compressors=above.compressors,
            fill_value=0,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        for corner in product(*(range(0, n, 2 * c) for n, c in zip(shape, chunk, strict=True))):
            ends = [min(i + 2 * c, n) for i, c, n in zip(corner, chunk, shape, strict=True)]
            wanted = [slice(i * s, j * s, s) for i, j, s in zip(corner, ends, step, strict=True)]
            level[tuple(map(slice, corner, ends))] = above[tuple(wanted)]
        factors = factors * step
        scale = {"type": "scale", "scale": (factors * np.array(sizes)).tolist()}
        datasets.append({"path": str(number), "coordinateTransformations": [scale]})
        above = level
    group.attrs["multiscales"] = attributes["multiscales"]


def _slabs(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    for start in range(0, shape[0], 64):
        rest = (slice(0, n) for n in shape[1:])
        yield (slice(start, min(start + 64, shape[0])), *rest)
