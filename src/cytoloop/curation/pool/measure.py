"""What models say of an image without labels, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cytoloop.curation.checks.predictions import disagreement, read_probability
from cytoloop.curation.checks.quality_metrics import image_metrics, label_metrics
from cytoloop.errors import CytoloopError, ImageError
from cytoloop.io.digest import file_hash
from cytoloop.manifest import Row
from cytoloop.truth.regions import instance_labels
from cytoloop.truth.targets import read_partner, read_raw, row_file

FEATURES = ("focus", "range", "median", "foreground", "objects", "object_voxels")
"""What an image looks like; the table of the checks has the same of labelled images."""

_MAY_BE_OBJECT = 0.1


@dataclass(frozen=True)
class Measured:
    """An image of the pool.

    Attributes
    ----------
    disagreement : float
        Mean over the pairs of models, 0 to 1; NaN for one model.
    uncertainty : float
        Of the mean probability of the models, 0 to 1; NaN without probabilities.
    features : tuple of float
        See `FEATURES`; NaN where unknown.
    sha256 : str
        Of the raw file.
    typical : int
        Number of the model that agrees most with the others, from 0.
    problem : str
        Why it could not be measured; "" if it could.
    """

    disagreement: float = np.nan
    uncertainty: float = np.nan
    features: tuple[float, ...] = ()
    sha256: str = ""
    typical: int = 0
    problem: str = ""


def measure(predicted: Sequence[Row]) -> Measured:
    """Return what the models say of an image.

    Parameters
    ----------
    predicted : sequence of Row
        Rows of the same image in the ``predictions.csv`` of each model.
    """
    try:
        return _measure(predicted)
    except CytoloopError as error:
        return Measured(problem=f"{error.where}: {'; '.join(error.problems)}")


def uncertainty(probability: np.ndarray) -> float:
    """Return the mean of 4 p (1 - p) over the voxels that may be objects (p >= 0.1), 0 to 1.

    It is 0 where no voxel may be an object: an empty image teaches little. (With labels,
    `cytoloop.curation.checks.predictions.uncertainty` divides by their size.)

    Parameters
    ----------
    probability : ndarray
        Foreground probability, 0 to 1.
    """
    chance = probability[probability >= _MAY_BE_OBJECT].astype(np.float64)
    return float(np.mean(4 * chance * (1 - chance))) if chance.size else 0.0


def features_of(metrics: Mapping[str, float]) -> tuple[float, ...]:
    """Return the features of an image from its quality metrics; NaN for missing ones.

    Grey levels, numbers and sizes are taken as logarithms: their ratios count.
    """
    low, median, high = (metrics.get(name, np.nan) for name in ("low", "median", "high"))
    width = high - low
    return (
        metrics.get("focus", np.nan),
        float(np.log1p(max(width, 0.0))) if width == width else np.nan,
        (median - low) / width if width > 0 else np.nan,
        metrics.get("foreground", np.nan),
        float(np.log1p(metrics.get("objects", np.nan))),
        float(np.log1p(metrics.get("object_voxels", np.nan))),
    )


def _measure(predicted: Sequence[Row]) -> Measured:
    first = predicted[0]
    raw = read_raw(first).data
    found = [_objects(row) for row in predicted]
    maps = [read_probability(row) for row in predicted if row["probability"]]
    shape = raw.shape[1:]
    for what, arrays in (("labels", found), ("probability", maps)):
        wrong = next((one.shape for one in arrays if one.shape != shape), None)
        if wrong is not None:
            raise ImageError(first.id, f"{what} of {wrong} but the image is {shape}")
    pairs = list(combinations(range(len(found)), 2))
    values = {pair: disagreement(found[pair[0]], found[pair[1]]) for pair in pairs}
    of_model = [sum(v for pair, v in values.items() if m in pair) for m in range(len(found))]
    typical = int(np.argmin(of_model))
    mean = np.mean(maps, axis=0) if len(maps) == len(predicted) else None
    labels = found[typical]
    metrics = image_metrics(raw) | {"foreground": float(np.mean(labels > 0)), "objects": 0.0}
    if labels.any():
        sizes = label_metrics(labels)
        metrics |= {"objects": sizes["labels"], "object_voxels": sizes["object_voxels"]}
    return Measured(
        float(np.mean(list(values.values()))) if pairs else np.nan,
        np.nan if mean is None else uncertainty(mean),
        features_of(metrics),
        file_hash(row_file(first, "raw")),
        typical,
    )


def _objects(row: Row) -> np.ndarray:
    """Return the predicted objects of a row; those of a mask are its connected parts."""
    column = "labels" if row["labels"] else "mask"
    return instance_labels(read_partner(row, column))
