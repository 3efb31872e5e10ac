"""The fingerprint of the training images: the figures from which a plan is made.

The figures of each image are kept beside it in the image cache, so that they are measured once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastremap
import numpy as np
from scipy.ndimage import find_objects

from cytoloop.data.cached_image import CachedImage
from cytoloop.io.atomic import replacing
from cytoloop.training.prepare.plan.outlines import (
    LOWERS,
    UPPERS,
    Outlines,
    outline_levels,
    outline_spreads,
)
from cytoloop.truth.regions import instance_labels

_FILE = "fingerprint_2{}.json"
_MAX_OBJECTS = 4000
"""Objects per image whose extents are kept; of more, a random sample."""
_MAX_SAMPLE = 1 << 20
PERCENTILES = (5, 50, 95)
LEVELS = (0.5, 50, 99.5)


@dataclass(frozen=True)
class Fingerprint:
    """Figures of the training images.

    Attributes
    ----------
    images : int
    channels : int
    shape : tuple of tuple of int
        Smallest, median and largest size along each axis, [Z,] Y, X.
    spacing_um : tuple of float or None
        Median voxel size, [Z,] Y, X.
    objects : int
        Objects of all images.
    objects_per_image : tuple of float
        Fewest, median, most.
    diameter : tuple of tuple of float
        Percentiles 5, 50 and 95 of the objects' extents along each axis, in voxels; empty without
        objects.
    object_voxels : float
        Mean number of voxels of an object.
    touching : float
        Fraction of objects that touch another one, 0 to 1.
    foreground : float
        Fraction of object voxels among voxels that are not excluded, 0 to 1.
    levels : tuple of tuple of float
        For each channel: percentiles 0.5, 50 and 99.5 of the grey levels, medians over images.
    outlines : tuple of Outlines
        Level and spread of the outlines of objects under each normalisation.
    outlined : int
        Number of images with outlines.
    """

    images: int
    channels: int
    shape: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    spacing_um: tuple[float, ...] | None
    objects: int
    objects_per_image: tuple[float, float, float]
    diameter: tuple[tuple[float, ...], ...]
    object_voxels: float
    touching: float
    foreground: float
    levels: tuple[tuple[float, ...], ...]
    outlines: tuple[Outlines, ...]
    outlined: int

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.shape[0])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size [Z,] Y, X in um; 1 for each axis if it is unknown."""
        return self.spacing_um or (1.0,) * self.dims

    @property
    def anisotropy(self) -> float:
        """Longest over shortest side of a voxel."""
        return max(self.spacing) / min(self.spacing)


def fingerprint(entries: Sequence[CachedImage]) -> Fingerprint:
    """Return the fingerprint of images.

    Parameters
    ----------
    entries : sequence of CachedImage
        The training images, with the same axes and channels.
    """
    parts = [_cached(entry) for entry in entries]
    shapes = np.array([entry.shape for entry in entries])
    dims = shapes.shape[1]
    known = [entry.spacing_um[-dims:] for entry in entries if entry.spacing_um]
    counts = [part["objects"] for part in parts]
    sizes = np.concatenate([np.reshape(part["extents"], (-1, dims)) for part in parts])
    total = max(sum(counts), 1)
    outlines = [part["outlines"] for part in parts if part["outlines"]]
    return Fingerprint(
        images=len(parts),
        channels=len(parts[0]["levels"]),
        shape=(_whole(shapes.min(0)), _whole(np.median(shapes, 0)), _whole(shapes.max(0))),
        spacing_um=tuple(float(s) for s in np.median(known, axis=0)) if known else None,
        objects=sum(counts),
        objects_per_image=(min(counts), float(np.median(counts)), max(counts)),
        diameter=tuple(
            tuple(float(one) for one in row)
            for row in (np.percentile(sizes, PERCENTILES, axis=0) if len(sizes) else ())
        ),
        object_voxels=sum(part["voxels"] for part in parts) / total,
        touching=sum(part["touching"] for part in parts) / total,
        foreground=sum(p["voxels"] for p in parts) / max(sum(p["counted"] for p in parts), 1),
        levels=tuple(
            tuple(float(one) for one in row)
            for row in np.median([part["levels"] for part in parts], axis=0)
        ),
        outlines=outline_spreads(outlines),
        outlined=len(outlines),
    )


def _cached(entry: CachedImage) -> dict[str, Any]:
    """Return the figures of one image, from its file in the cache if there is one."""
    if entry.folder is None:
        return _measure(entry)
    path = entry.folder / _FILE.format(f"_{entry.filters}" if entry.filters else "")
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(_measure(entry)))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _measure(entry: CachedImage) -> dict[str, Any]:
    counted = instance_labels(np.where(entry.valid, entry.labels, 0), entry.classes)
    labels, _ = fastremap.renumber(counted, in_place=False)
    boxes = [box for box in find_objects(labels.astype(np.int32)) if box is not None]
    extents = np.array([[part.stop - part.start for part in box] for box in boxes], int)
    if len(extents) > _MAX_OBJECTS:
        extents = np.random.default_rng(0).choice(extents, _MAX_OBJECTS, replace=False)
    ends = outline_levels(entry.image, labels, entry.valid)
    return {
        "objects": len(boxes),
        "extents": extents.tolist(),
        "voxels": int(np.count_nonzero(labels)),
        "counted": int(np.count_nonzero(entry.valid)),
        "touching": count_touching(labels),
        "levels": [_percentiles(channel, LEVELS) for channel in entry.image],
        "outlines": [
            [end, *_percentiles(channel, LOWERS + UPPERS)]
            for end, channel in zip(ends, entry.image, strict=False)
        ],
    }


def count_touching(labels: np.ndarray) -> int:
    """Return the number of objects that share a face with another one."""
    found: list[np.ndarray] = []
    for axis in range(labels.ndim):
        rows = np.moveaxis(labels, axis, 0)
        one, other = rows[:-1], rows[1:]
        meet = (one != other) & (one > 0) & (other > 0)
        found += [one[meet], other[meet]]
    return len(np.unique(np.concatenate(found)))


def _percentiles(channel: np.ndarray, percentiles: Sequence[float]) -> list[float]:
    """Return percentiles of a channel's grey levels; a large channel is sampled regularly."""
    step = max(round((channel.size / _MAX_SAMPLE) ** (1 / channel.ndim)), 1)
    sample = channel[(slice(None, None, step),) * channel.ndim]
    return [float(one) for one in np.nanpercentile(sample, percentiles)]


def _whole(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
