"""Write OME-Zarr pyramids (NGFF 0.4 and 0.5) with voxel sizes, block by block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import OutputError
from cytoloop.io.atomic import replacing_folder
from cytoloop.io.voxel_size import Spacing

CHUNK = {"C": 1, "Z": 16, "Y": 256, "X": 256}
_MIN_HALVED = 512
"""Only axes with more voxels are halved in the next level."""
_BOX_VOXELS = 2**25
"""Most voxels that are read and written at once."""


def write_zarr(
    path: str | Path,
    data: Any,
    axes: str,
    spacing_um: Spacing | None = None,
    name: str = "image",
    channels: Sequence[str] = (),
    origin_um: Spacing | None = None,
    version: str = "0.4",
) -> None:
    """Write an OME-Zarr; a crash leaves the old store or the new store.

    Each level takes every second voxel of axes longer than 512, so that labels stay labels. The
    default format is NGFF 0.4 (Zarr 2), which all viewers read.

    Parameters
    ----------
    path : str or Path
        Should end in ``.ome.zarr``.
    data : array
        Pixels in the order of `axes`, in memory or on disk.
    axes : str
        ``"ZYX"`` or ``"YX"``; with channels ``"CZYX"`` or ``"CYX"``.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in um.
    name : str
        Name of the image, and of its channel if `channels` is empty.
    channels : sequence of str
        One name per channel.
    origin_um : tuple of float, optional
        Position of the first voxel (Z, Y, X) in um, written as ``translation``.
    version : str
        Of NGFF: ``0.4`` (Zarr 2) or ``0.5`` (Zarr 3).

    Raises
    ------
    OutputError
        bioio-ome-zarr is too old to write OME-Zarr (Python 3.10).
    """
    try:
        from bioio_ome_zarr.writers import Channel, OMEZarrWriter
    except ImportError as error:  # bioio-ome-zarr for Python 3.10
        raise OutputError(
            str(path),
            "this installation cannot write OME-Zarr",
            "Set format=ome-tiff, or install CytoLoop with Python 3.11.",
        ) from error

    shape = tuple(int(n) for n in data.shape)
    dtype = np.dtype(np.uint8) if data.dtype == bool else np.dtype(data.dtype)
    spacing = dict(zip("ZYX", spacing_um or (), strict=False))
    origin = dict(zip("ZYX", origin_um or (), strict=False))
    sizes = [float(spacing.get(a, 1.0)) for a in axes]
    chunk = tuple(min(CHUNK[a], n) for a, n in zip(axes, shape, strict=True))
    with replacing_folder(path) as temporary:
        writer = OMEZarrWriter(
            str(temporary),
            level_shapes=[shape],
            dtype=dtype,
            chunk_shape=chunk,
            zarr_format=2 if version == "0.4" else 3,
            image_name=name,
            channels=[Channel(label=one, color="FFFFFF") for one in channels or [name]],
            axes_names=[a.lower() for a in axes],
            axes_types=["channel" if a == "C" else "space" for a in axes],
            axes_units=["micrometer" if a in spacing else None for a in axes],
            physical_pixel_size=sizes,
        )
        for box in _boxes(shape, chunk):
            writer.write_region(np.asarray(data[box]).astype(dtype, copy=False), box)
        _add_levels(temporary, _pyramid(shape), chunk, sizes)
        if any(origin.values()):
            _add_translation(temporary, [float(origin.get(a, 0.0)) for a in axes])


def _add_translation(folder: Path, origin: Sequence[float]) -> None:
    """Write the origin of every level: all levels contain the first voxel."""
    import zarr

    group = zarr.open_group(str(folder), mode="r+")
    metadata = _metadata(group)
    for dataset in metadata["multiscales"][0]["datasets"]:
        dataset["coordinateTransformations"].append(
            {"type": "translation", "translation": list(origin)}
        )
    _set_metadata(group, metadata)


def _metadata(group: Any) -> dict[str, Any]:
    """Return the OME metadata of a group, which lie in ``ome`` since version 0.5."""
    attributes: dict[str, Any] = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _set_metadata(group: Any, metadata: dict[str, Any]) -> None:
    if "ome" in group.attrs:
        group.attrs["ome"] = metadata
    else:
        group.attrs["multiscales"] = metadata["multiscales"]


def _pyramid(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shapes of all levels."""
    levels = [tuple(shape)]
    while max(levels[-1]) > _MIN_HALVED:
        levels.append(tuple(n // 2 if n > _MIN_HALVED else n for n in levels[-1]))
    return levels


def _boxes(shape: Sequence[int], chunk: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield boxes of whole chunks that tile an image; each holds at most `_BOX_VOXELS`.

    Long rows of chunks come first. Every box is read into memory, so no axis may be taken whole
    without a limit: 64 planes of a wide stack are 8 GiB of labels.
    """
    sides = list(chunk)
    for axis in reversed(range(len(shape))):
        others = math.prod(sides) // sides[axis]
        fits = _BOX_VOXELS // others // chunk[axis] * chunk[axis]
        sides[axis] = min(max(fits, chunk[axis]), shape[axis])
    starts = (range(0, n, side) for n, side in zip(shape, sides, strict=True))
    for corner in itertools.product(*starts):
        ends = (min(a + side, n) for a, side, n in zip(corner, sides, shape, strict=True))
        yield tuple(map(slice, corner, ends))


def _add_levels(
    folder: Path, shapes: Sequence[tuple[int, ...]], chunk: Sequence[int], sizes: Sequence[float]
) -> None:
    """Add the levels below the full resolution; each takes the first of two voxels per axis.

    bioio's writer is not used here. For odd sizes it takes other voxels from block to block and
    states a scale that is not 2, so that labels of a coarse level would be shifted.
    """
    import zarr

    group = zarr.open_group(str(folder), mode="r+")
    metadata = _metadata(group)
    datasets = metadata["multiscales"][0]["datasets"]
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
            chunk_key_encoding={
                "name": "v2" if above.metadata.zarr_format == 2 else "default",
                "separator": "/",
            },
        )
        for corner in itertools.product(
            *(range(0, n, 2 * c) for n, c in zip(shape, chunk, strict=True))
        ):
            ends = [min(i + 2 * c, n) for i, c, n in zip(corner, chunk, shape, strict=True)]
            wanted = [slice(i * s, j * s, s) for i, j, s in zip(corner, ends, step, strict=True)]
            level[tuple(map(slice, corner, ends))] = above[tuple(wanted)]
        factors = factors * step
        scale = {"type": "scale", "scale": (factors * np.array(sizes)).tolist()}
        datasets.append({"path": str(number), "coordinateTransformations": [scale]})
        above = level
    _set_metadata(group, metadata)
