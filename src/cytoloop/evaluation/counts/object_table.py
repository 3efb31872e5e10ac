"""Table of the objects of an image: location, size, partner and error type of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import fastremap
import numpy as np

from cytoloop.evaluation.counts.error_types import find_error_types
from cytoloop.evaluation.counts.matching import Matching, native_labels

COLUMNS = (
    *("image", "group", "side", "object", "kind", "match", "iou", "nearest"),
    *("z", "y", "x", "volume_voxels", "volume_um3"),
)
"""Columns of ``objects.csv``; ``kind`` is the error type."""


@dataclass(frozen=True)
class ObjectTable:
    """The objects of one side of an image that count, see `cytoloop.evaluation.counts.matching`.

    Attributes
    ----------
    ids : ndarray of int
        (N,) labels.
    error_types : list of str
        See `cytoloop.evaluation.counts.error_types`.
    match : ndarray of int
        (N,) label of the object of the other side that matches at IoU .5, 0 for none.
    nearest : ndarray of int
        (N,) label of the match, else of the object with the largest IoU; 0 without overlap.
    iou : ndarray of float
        (N,) IoU with `nearest`, 0 without overlap.
    centres : ndarray of float
        (N, 2 or 3) centroid ([Z,] Y, X) in voxels of the part that is not excluded.
    voxels : ndarray of int
        (N,) voxels that are not excluded.
    """

    ids: np.ndarray
    error_types: list[str]
    match: np.ndarray
    nearest: np.ndarray
    iou: np.ndarray
    centres: np.ndarray
    voxels: np.ndarray

    def rows(self, image: str, group: str, side: str, voxel_um3: float | None) -> Iterator[dict]:
        """Yield the rows of ``objects.csv``.

        Parameters
        ----------
        image, group : str
            Id and group of the image.
        side : str
            ``true`` or ``predicted``.
        voxel_um3 : float or None
            Volume of a voxel in um3 (in 2D area in um2), None where unknown.
        """
        for i, label in enumerate(self.ids):
            centre = [round(float(c), 2) for c in self.centres[i]]
            volume = "" if voxel_um3 is None else float(f"{self.voxels[i] * voxel_um3:.6g}")
            cells: dict[str, Any] = {
                "image": image,
                "group": group,
                "side": side,
                "object": int(label),
                "kind": self.error_types[i],
                "match": int(self.match[i]) or "",
                "iou": round(float(self.iou[i]), 4),
                "nearest": int(self.nearest[i]) or "",
                **dict(zip("zyx"[-len(centre) :], centre, strict=True)),
                "volume_voxels": int(self.voxels[i]),
                "volume_um3": volume,
            }
            yield cells


def make_object_tables(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None, matching: Matching
) -> tuple[ObjectTable, ObjectTable]:
    """Return the tables of the true and of the predicted objects of an image.

    Parameters
    ----------
    truth, prediction : ndarray of whole numbers
        ([Z,] Y, X).
    valid : ndarray of bool, optional
        Same shape; False = excluded.
    matching : Matching
        Of these images, with the threshold 0.5.
    """
    overlaps, matched = matching.overlaps, matching.matched[0.5]
    error_types = find_error_types(matching)
    iou = overlaps.iou
    tables = []
    for side, (labels, ids, voxels, other) in enumerate(
        (
            (truth, overlaps.true_ids, overlaps.true_sizes, overlaps.predicted_ids),
            (prediction, overlaps.predicted_ids, overlaps.predicted_sizes, overlaps.true_ids),
        )
    ):
        own, partner = overlaps.pairs[:, side], overlaps.pairs[:, 1 - side]
        best = np.full(len(ids), -1)
        order = np.argsort(iou, kind="stable")
        best[own[order]] = order  # the last of several pairs stays: that with the largest IoU
        best[own[matched]] = matched
        match = np.zeros(len(ids), other.dtype)
        match[own[matched]] = other[partner[matched]]
        some = best >= 0
        nearest, nearest_iou = np.zeros(len(ids), other.dtype), np.zeros(len(ids))
        nearest[some], nearest_iou[some] = other[partner[best[some]]], iou[best[some]]
        tables.append(
            ObjectTable(
                ids=ids,
                error_types=[error_types[side][int(i)] for i in ids],
                match=match,
                nearest=nearest,
                iou=nearest_iou,
                centres=_centres(labels, ids, valid),
                voxels=voxels,
            )
        )
    return tables[0], tables[1]


def _centres(labels: np.ndarray, ids: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return the centroids of labels, (N, 2 or 3) in voxels."""
    if not len(ids):
        return np.zeros((0, labels.ndim))
    positions, position_of = fastremap.renumber(native_labels(labels), preserve_zero=True)
    if valid is not None:
        positions = positions * valid
    statistics = cc3d.statistics(positions, no_slice_conversion=True)
    centres = np.asarray(statistics["centroids"], float)
    return centres[np.array([position_of[int(i)] for i in ids], int)]


def voxel_volume(spacing: Sequence[float] | None) -> float | None:
    """Return the volume of a voxel (in 2D the area of a pixel), None without a voxel size."""
    return math.prod(spacing) if spacing is not None else None
