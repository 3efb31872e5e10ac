"""COCO segmentations: polygons, plain and compressed run lengths, converted to pixel indices.

Run lengths count pixels down the columns of the image: background, object, background, ...
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cytoloop.curation.exchange.annotation.objects import flat_indices
from cytoloop.curation.exchange.annotation.project_files import get_typed
from cytoloop.extras import import_extra

_MAX_OUTLINE = 2_000_000
"""Longest outline of an object in pixels, because pycocotools allocates memory for each pixel."""


def decode_segmentation(segmentation: object, shape: tuple[int, int]) -> np.ndarray:
    """Return the flat pixel indices of a segmentation in any of COCO's three forms.

    Parameters
    ----------
    segmentation : list or dict
        A list of polygons ``[x, y, x, y, ...]``, or ``{"size": [Y, X], "counts": ...}`` with
        counts as a list or as compressed text.
    shape : tuple of int
        (Y, X) of the image.

    Returns
    -------
    ndarray of int64
        Indices as `flat_indices` returns them.

    Raises
    ------
    ValueError
        The segmentation is faulty or does not fit the image.
    """
    if isinstance(segmentation, list):
        counts = _decompress(_rasterize(segmentation, shape))
    else:
        size = get_typed(segmentation, "size", list)
        if size != list(shape):
            raise ValueError(f"size is {str(size)[:60]}, but its image is {list(shape)}")
        given = segmentation.get("counts") if isinstance(segmentation, dict) else None
        counts = _decompress(given) if isinstance(given, str) else _check_plain_counts(given)
    pixels = shape[0] * shape[1]
    if len(counts) and (counts.min() < 0 or counts.max() > pixels):
        raise ValueError(f"counts are not run lengths: expected numbers from 0 to {pixels}")
    if counts.sum() != pixels:
        raise ValueError(f"counts add up to {counts.sum()} pixels, but its image has {pixels}")
    stops = np.cumsum(counts)[1::2]
    runs = counts[1::2]
    column_major = np.arange(runs.sum()) + np.repeat(stops - np.cumsum(runs), runs)
    x, y = np.divmod(column_major, shape[0])
    return y * shape[1] + x


def encode_mask(
    mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]
) -> dict[str, Any]:
    """Return a mask as compressed run lengths.

    Parameters
    ----------
    mask : ndarray of bool
        (Y, X).
    corner : tuple of int
        (Y, X) of its first pixel in the image.
    shape : tuple of int
        (Y, X) of the image.
    """
    (coco_mask,) = import_extra("format=coco", "annotation", "pycocotools.mask")

    indices = flat_indices(mask.T, corner[::-1], shape[::-1])  # transposed: column by column
    breaks = np.flatnonzero(np.diff(indices) > 1)
    starts, stops = indices[np.r_[0, breaks + 1]], indices[np.r_[breaks, -1]] + 1
    edges = np.stack([starts, stops], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=shape[0] * shape[1])
    packed = coco_mask.frPyObjects({"size": list(shape), "counts": counts.tolist()}, *shape)
    return {"size": list(shape), "counts": str(packed["counts"], "ascii")}


def _check_plain_counts(counts: object) -> np.ndarray:
    """Return uncompressed run lengths."""
    if not isinstance(counts, list) or not all(type(n) is int and abs(n) < 1 << 32 for n in counts):
        raise ValueError("counts are not text and not a list of whole numbers below 2**32")
    return np.array(counts, np.int64)


def _decompress(text: str) -> np.ndarray:
    """Return the run lengths of a compressed text.

    pycocotools is not used here: it reads past the end of a text that is cut off.

    Each character holds five bits of a number, lowest bits first, and one bit that says whether
    more follow. From the fourth number on, the difference from the number two places before is
    stored (``rleFrString`` in pycocotools/common/maskApi.c).
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 32):
        raise ValueError("counts are not valid compressed run lengths")
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    if len(last) and (last - first).max() > 6:
        raise ValueError("counts are not valid compressed run lengths: a number is too long")
    shift = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    values = np.add.reduceat((codes & 31) << shift, first) if len(last) else codes
    values -= np.where(codes[last] & 16, np.int64(1) << (shift[last] + 5), 0)
    values[1::2] = np.cumsum(values[1::2])
    evens = values[2::2]
    values[2::2] = np.cumsum(evens)
    return values


def _rasterize(polygons: list[Any], shape: tuple[int, int]) -> str:
    """Return the compressed run lengths of the union of polygons."""
    (mask,) = import_extra("format=coco", "annotation", "pycocotools.mask")

    length = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(type(n) in (int, float) for n in polygon):
            raise ValueError("segmentation is not a list of polygons [x, y, x, y, ...]")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"a polygon has {len(polygon)} numbers, expected x, y of 3 points or more"
            )
        if not all(abs(n) < _MAX_OUTLINE for n in polygon):  # false for NaN, too
            raise ValueError(f"a polygon has a coordinate beyond {_MAX_OUTLINE} pixels, or NaN")
        points = np.array(polygon, np.float64).reshape(-1, 2)
        length += np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if not polygons or length > _MAX_OUTLINE:
        raise ValueError(
            f"segmentation has an outline of {length:.0f} pixels, expected 1 to {_MAX_OUTLINE}"
        )
    merged = mask.merge(mask.frPyObjects(polygons, *shape))
    return str(merged["counts"], "ascii")
