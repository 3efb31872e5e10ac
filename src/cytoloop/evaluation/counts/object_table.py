"""One row an object, true or predicted: where it is, how large, which is its partner."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import fastremap
import numpy as np

from cytoloop.evaluation.counts.error_types import kinds_of
from cytoloop.evaluation.counts.matching import Matching, plain_labels

COLUMNS = (
    *("image", "group", "side", "object", "kind", "match", "iou", "nearest"),
    *("z", "y", "x", "volume_voxels", "volume_um3"),
)


@dataclass(frozen=True)
class ObjectTable:
    """The objects of one side of one image that count, see `cytoloop.evaluation.counts.matching`.

    Attributes
    ----------
    ids : ndarray of int
        (N,) labels.
    kinds : list of str
        See `cytoloop.evaluation.counts.error_types`.
    match : ndarray of int
        (N,) label of the object of the other side that it matches at IoU .5, 0 for none.
    nearest : ndarray of int
        (N,) label of the match, else of the object with the largest IoU, 0 where none overlaps.
    iou : ndarray of float
        (N,) IoU with `nearest`, 0 for none.
    centres : ndarray of float
        (N, 2 or 3) centroid ([Z,] Y, X) in voxels, of what is not excluded.
    voxels : ndarray of int
        (N,) voxels that are not excluded.
    """

    ids: np.ndarray
    kinds: list[str]
    match: np.ndarray
    nearest: np.ndarray
    iou: np.ndarray
    centres: np.ndarray
    voxels: np.ndarray


def take_census(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None, matching: Matching
) -> tuple[ObjectTable, ObjectTable]:
    """Return the true and the predicted objects of an image.

    Parameters
    ----------
    truth, prediction : ndarray of whole numbers
        ([Z,] Y, X).
    valid : ndarray of bool, optional
        Same shape; False = excluded.
    matching : Matching
        Of the three, with the threshold 0.5.
    """
    found = matching.overlaps
    kinds = kinds_of(matching)
    iou = found.iou
    sides = []
    for side, (labels, ids, voxels, other) in enumerate(
        (
            (truth, found.true_ids, found.true_sizes, found.predicted_ids),
            (prediction, found.predicted_ids, found.predicted_sizes, found.true_ids),
        )
    ):
        own, partner = found.pairs[:, side], found.pairs[:, 1 - side]
        best = np.full(len(ids), -1)
        order = np.argsort(iou, kind="stable")
        best[own[order]] = order  # of several pairs the last one stays: that with the largest IoU
        matched = matching.matched[0.5]
        best[own[matched]] = matched
        match = np.zeros(len(ids), other.dtype)
        match[own[matched]] = other[partner[matched]]
        some = best >= 0
        nearest, nearest_iou = np.zeros(len(ids), other.dtype), np.zeros(len(ids))
        nearest[some], nearest_iou[some] = other[partner[best[some]]], iou[best[some]]
        sides.append(
            ObjectTable(
                ids=ids,
                kinds=[kinds[side][int(i)] for i in ids],
                match=match,
                nearest=nearest,
                iou=nearest_iou,
                centres=_centres(labels, ids, valid),
                voxels=voxels,
            )
        )
    return sides[0], sides[1]


def _centres(labels: np.ndarray, ids: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return the centroids of labels, (N, 2 or 3) in voxels."""
    if not len(ids):
        return np.zeros((0, labels.ndim))
    places, names = fastremap.renumber(plain_labels(labels), preserve_zero=True)
    if valid is not None:
        places = places * valid
    centres = np.asarray(cc3d.statistics(places, no_slice_conversion=True)["centroids"], float)
    return centres[np.array([names[int(i)] for i in ids], int)]


def object_rows(
    rows: Sequence[Mapping[str, Any]],
    censuses: Sequence[tuple[ObjectTable, ObjectTable]],
    voxels_um3: Sequence[float | None],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``objects.csv``.

    Parameters
    ----------
    rows : sequence of mappings
        Of the images: ``id``, ``group``.
    censuses : sequence of (Census, Census)
        True and predicted objects of each image.
    voxels_um3 : sequence of float or None
        Volume of a voxel of each image (in 2D its area in um2), None where it is not known.
    """
    for row, sides, volume in zip(rows, censuses, voxels_um3, strict=True):
        for name, side in zip(("true", "predicted"), sides, strict=True):
            for i, label in enumerate(side.ids):
                centre = [round(float(c), 2) for c in side.centres[i]]
                yield {
                    "image": row["id"],
                    "group": row["group"],
                    "side": name,
                    "object": int(label),
                    "kind": side.kinds[i],
                    "match": int(side.match[i]) or "",
                    "iou": round(float(side.iou[i]), 4),
                    "nearest": int(side.nearest[i]) or "",
                    **dict(zip("zyx"[-len(centre) :], centre, strict=True)),
                    "volume_voxels": int(side.voxels[i]),
                    "volume_um3": "" if volume is None else float(f"{side.voxels[i] * volume:.6g}"),
                }


def voxel_volume(spacing: Sequence[float] | None) -> float | None:
    """Return the volume of a voxel (in 2D the area of a pixel), None where it is not known."""
    return math.prod(spacing) if spacing is not None else None
