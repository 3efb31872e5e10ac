"""Quality metrics from a model's predictions: disagreement with the labels, and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.result import CheckResult
from cytoloop.errors import ManifestError, join_names
from cytoloop.io.names import stem
from cytoloop.io.read import read_image
from cytoloop.manifest import PLANE_WORDS, Row, expand_row, part_of, read_manifest
from cytoloop.terminal import progress_bar
from cytoloop.truth.regions import instance_labels
from cytoloop.truth.targets import read_partner, read_target, row_file


def measure_predictions(
    rows: Sequence[Row], results: Mapping[str, CheckResult], predictions: str | Path, progress: bool
) -> dict[str, CheckResult]:
    """Return results with the metrics ``disagreement`` and ``uncertainty`` of predicted rows.

    Parameters
    ----------
    rows : sequence of Row
    results : mapping of str to CheckResult
        By row id.
    predictions : str or Path
        ``predictions.csv`` of `cytoloop predict`.
    progress : bool
        Show a progress bar on the terminal.

    Raises
    ------
    ManifestError
        No such table, no prediction of any row, or predictions that do not fit their images; all
        of them.
    """
    predicted = read_predictions(predictions)
    chosen = [row for row in rows if row.id in predicted and not results[row.id].problems]
    if not chosen:
        raise ManifestError(
            str(predictions),
            f"predicts none of these images (it has {join_names(sorted(predicted))})",
            "Predict on this data set first: cytoloop predict input=dataset/dataset.csv ...",
        )
    measured, problems = dict(results), []
    with progress_bar("comparing predictions", len(chosen), progress) as advance:
        for row in chosen:
            raw = predicted[row.id]["raw"]
            if raw and stem(raw) != stem(row["raw"]):
                problems.append(f"{row.id}: was predicted on {raw}, but the row has {row['raw']}")
                continue
            try:
                metrics = _compare(row, predicted[row.id])
            except (ManifestError, ValueError) as error:
                problems.append(f"{row.id}: {error}")
                continue
            result = results[row.id]
            measured[row.id] = replace(result, metrics={**result.metrics, **metrics})
            advance()
    if problems:
        raise ManifestError(str(predictions), problems, "Predict these images again.")
    return measured


def disagreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return how much two segmentations differ, from 0 (the same objects) to 1.

    It is 1 minus the mean, over the objects of both segmentations, of the best intersection over
    union with an object of the other segmentation.

    Parameters
    ----------
    one, other : ndarray of unsigned integers
        Same shape.
    """
    import fastremap

    one, other = fastremap.renumber(one)[0], fastremap.renumber(other)[0]
    sizes = [np.bincount(labels.reshape(-1)) for labels in (one, other)]
    count = len(sizes[0]) + len(sizes[1]) - 2
    if not count:
        return 0.0
    width = len(sizes[1])
    both = (one > 0) & (other > 0)
    codes = one[both].astype(np.int64) * width + other[both]
    pairs, shared = np.unique(codes, return_counts=True)
    left, right = np.divmod(pairs, width)
    overlap = shared / (sizes[0][left] + sizes[1][right] - shared)
    total = 0.0
    for labels, sizes_of in ((left, sizes[0]), (right, sizes[1])):
        best = np.zeros(len(sizes_of))
        np.maximum.at(best, labels, overlap)
        total += float(best[1:].sum())
    return 1.0 - total / count


def uncertainty(probability: np.ndarray, foreground: np.ndarray) -> float:
    """Return how uncertain a model is about an image, from 0 to 1.

    The uncertainty of a voxel is 4 p (1 - p), which is 1 at p = 0.5. The result is its sum over the
    image divided by the size of the foreground, predicted or given, and at most 1.

    Parameters
    ----------
    probability : ndarray
        Foreground probability, 0 to 1.
    foreground : ndarray of bool
        Same shape.
    """
    total = float(np.sum(4 * probability * (1 - probability), dtype=np.float64))
    size = float(np.sum(np.maximum(probability, foreground), dtype=np.float64))
    return min(total / size, 1.0) if size else 0.0


def read_predictions(path: str | Path) -> dict[str, Row]:
    """Return the rows of a ``predictions.csv`` by id.

    Raises
    ------
    ManifestError
        No such table, or it names no results.
    """
    manifest = read_manifest(path, ("id",))
    if not any(row[name] for row in manifest for name in ("probability", "mask", "labels")):
        raise ManifestError(
            str(path),
            "names no probability map, mask or labels",
            "Expected the predictions.csv of `cytoloop predict`.",
        )
    return {part.id: part for row in manifest for part in _with_planes(row)}


def read_probability(row: Row) -> np.ndarray:
    """Return the predicted probability of a row, 0 to 1; of several classes the highest.

    Parameters
    ----------
    row : Row
        Of a ``predictions.csv``.

    Returns
    -------
    ndarray of float32
        ([Z,] Y, X).
    """
    path = row_file(row, "probability")
    part = part_of(row, "probability", path)
    stored = read_image(path, None, part.scene, part.time, plane=part.plane).data.max(axis=0)
    scale = np.iinfo(stored.dtype).max if stored.dtype.kind == "u" else 1.0
    return np.asarray(stored.astype(np.float32) / scale)


def _with_planes(row: Row) -> list[Row]:
    """Return a prediction, and a row for each plane of a stack that was predicted by planes."""
    column = next((name for name in ("labels", "mask", "probability") if row[name]), None)
    if column is None or row["plane"] not in PLANE_WORDS:
        return [row]
    return [row, *expand_row(row, column)]


def _compare(row: Row, predicted: Row) -> dict[str, float]:
    labels, valid = read_target(row)
    metrics = {}
    kind = "labels" if predicted["labels"] else "mask"
    if predicted[kind]:
        found = read_partner(predicted, kind)
        _require_shape(found, labels)
        metrics["disagreement"] = disagreement(
            *(instance_labels(np.where(valid, one, 0)) for one in (labels, found))
        )
    if predicted["probability"]:
        probability = read_probability(predicted)
        _require_shape(probability, labels)
        metrics["uncertainty"] = uncertainty(
            np.where(valid, probability, 0), np.where(valid, labels > 0, False)
        )
    return metrics


def _require_shape(predicted: np.ndarray, labels: np.ndarray) -> None:
    if predicted.shape != labels.shape:
        raise ValueError(
            f"predicted shape {predicted.shape} but the segmentation is {labels.shape}"
        )
