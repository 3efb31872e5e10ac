"""Recall by object size: whether small objects are missed more often than large objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.evaluation.bootstrap import interval, resample_sums, sampling_units
from cytoloop.evaluation.scoring.image import ScoredImage

QUARTILES = ("q1", "q2", "q3", "q4")
RECALL_COLUMNS = tuple(f"recall_{name}" for name in QUARTILES)


def summarise_size_recall(
    images: Sequence[ScoredImage], resamples: int, seed: int
) -> dict[str, Any] | None:
    """Return pooled recall by object size with intervals; None without true objects.

    Adds the columns of `recall_by_size` to the rows of the images. Volumes are in um3 (of 2D
    images um2) where the voxel sizes of all images are known, else in voxels.

    Parameters
    ----------
    images : sequence of ScoredImage
        With tables of objects.
    resamples, seed : int
        Of the bootstrap.
    """
    true = [image.objects[0] for image in images if image.objects is not None]
    is_known = all(image.voxel_um3 is not None for image in images)
    factors = [(image.voxel_um3 if is_known else None) or 1.0 for image in images]
    volumes = [table.voxels * factor for table, factor in zip(true, factors, strict=True)]
    edges, cells = recall_by_size(volumes, [table.match > 0 for table in true])
    for image, own in zip(images, cells, strict=True):
        image.row.update(own)
    if not edges:
        return None
    is_flat = all(table.centres.shape[1] == 2 for table in true)
    unit = ("um2" if is_flat else "um3") if is_known else "voxels"
    return {"unit": unit, "quartiles": _quartiles([i.row for i in images], edges, resamples, seed)}


def recall_by_size(
    volumes: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> tuple[list[float], list[dict[str, Any]]]:
    """Return the edges of the quartiles, and the recall of each image in each quartile.

    The quartiles are those of the true volumes of all images together (NumPy's linear rule). A
    volume at an edge belongs to the smaller quartile. With many equal volumes a quartile may be
    empty.

    Parameters
    ----------
    volumes : sequence of ndarray
        Volumes of the true objects of each image, all in one unit.
    found : sequence of ndarray of bool
        True for each object that matches at IoU .5.

    Returns
    -------
    edges : list of float
        Five: smallest volume, the three quartiles, largest volume; empty without objects.
    images : list of dict
        For each image ``recall_q1`` (the smallest quarter of the objects) ... ``recall_q4`` (NaN
        without such objects), and numbers of objects ``true_q1`` ..., ``found_q1`` ...
    """
    every = np.concatenate([np.asarray(v, float) for v in volumes]) if volumes else np.zeros(0)
    edges = np.quantile(every, (0, 0.25, 0.5, 0.75, 1)) if len(every) else np.zeros(0)
    images = []
    for own, hit in zip(volumes, found, strict=True):
        quartile = np.searchsorted(edges[1:4], own) if len(every) else np.zeros(0, int)
        cells: dict[str, Any] = {}
        for number, name in enumerate(QUARTILES):
            true, matched = int((quartile == number).sum()), int(hit[quartile == number].sum())
            cells[f"recall_{name}"] = matched / true if true else math.nan
            cells[f"true_{name}"], cells[f"found_{name}"] = true, matched
        images.append(cells)
    return [float(edge) for edge in edges], images


def _quartiles(
    rows: Sequence[Mapping[str, Any]], edges: Sequence[float], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Return range, objects, found objects, recall and interval of each quartile."""
    units, _ = sampling_units(rows)
    true, found = (
        np.array([[row[f"{side}_{name}"] for name in QUARTILES] for row in rows], float)
        for side in ("true", "found")
    )
    sums = resample_sums(np.hstack([found, true]), units, resamples, seed)
    found_sums, true_sums = np.split(sums, 2, axis=1)
    recall = np.full(true_sums.shape, np.nan)
    np.divide(found_sums, true_sums, out=recall, where=true_sums > 0)
    has_intervals = len(set(units)) > 1
    totals = zip(true.sum(axis=0), found.sum(axis=0), strict=True)
    return [
        {
            "from": edges[number],
            "to": edges[number + 1],
            "objects": int(objects),
            "found": int(matched),
            "recall": float(matched / objects) if objects else None,
            "interval": interval(recall[:, number]) if has_intervals else None,
        }
        for number, (objects, matched) in enumerate(totals)
    ]
