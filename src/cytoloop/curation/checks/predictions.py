"""Predictions of an earlier round: where model and segmentation differ, and where it is unsure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.curation.checks.facts import Facts
from cytoloop.errors import ManifestError, listed
from cytoloop.io.labels import read_labels
from cytoloop.io.names import stem
from cytoloop.io.read import read_image
from cytoloop.manifest import Manifest, Row, read_manifest
from cytoloop.truth.regions import instance_labels
from cytoloop.truth.targets import read_target, row_file


def measure_predictions(
    rows: Sequence[Row], facts: Mapping[str, Facts], predictions: str | Path, progress: bool
) -> dict[str, Facts]:
    """Return facts with the figures ``disagreement`` and ``uncertainty`` of predicted rows.

    Parameters
    ----------
    rows : sequence of Row
    facts : mapping of str to Facts
        By id.
    predictions : str or Path
        ``predictions.csv`` of `cytoloop predict`.
    progress : bool
        Show a bar on the terminal.

    Raises
    ------
    ManifestError
        No such table, none of its ids is a row's, or predictions that do not fit their images;
        all of them.
    """
    known = {row.id: row for row in _predicted(predictions)}
    chosen = [row for row in rows if row.id in known and not facts[row.id].problems]
    if not chosen:
        raise ManifestError(
            str(predictions),
            f"predicts none of these images (it has {listed(sorted(known))})",
            "Predict on this data set first: cytoloop predict input=dataset/dataset.csv ...",
        )
    measured, problems = dict(facts), []
    for row in _track(chosen, progress):
        picture = known[row.id]["raw"]
        if picture and stem(picture) != stem(row["raw"]):
            problems.append(f"{row.id}: was predicted on {picture}, but is {row['raw']}")
            continue
        try:
            figures = _compare(row, known[row.id])
        except (ManifestError, ValueError) as error:
            problems.append(f"{row.id}: {error}")
            continue
        one = facts[row.id]
        measured[row.id] = replace(one, figures={**one.figures, **figures})
    if problems:
        raise ManifestError(str(predictions), problems, "Predict these images again.")
    return measured


def disagreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return how much two segmentations differ, from 0 (the same objects) to 1.

    One minus the mean, over the objects of both, of the best intersection over union that an
    object has with one of the other segmentation.

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
    """Return how unsure a model is about an image, from 0 to 1.

    Each voxel is unsure by 4 p (1 - p), which is 1 where p is one half; the sum over the image
    is compared with the foreground, predicted or given, so that empty images count for little.

    Parameters
    ----------
    probability : ndarray
        Of foreground, 0 to 1.
    foreground : ndarray of bool
        Same shape.
    """
    unsure = float(np.sum(4 * probability * (1 - probability), dtype=np.float64))
    size = float(np.sum(np.maximum(probability, foreground), dtype=np.float64))
    return min(unsure / size, 1.0) if size else 0.0


def _predicted(path: str | Path) -> Manifest:
    manifest = read_manifest(path, ("id",))
    if not any(row[name] for row in manifest for name in ("probability", "mask", "labels")):
        raise ManifestError(
            str(path),
            "names no probability map, mask or labels",
            "Expected the predictions.csv of `cytoloop predict`.",
        )
    return manifest


def _compare(row: Row, predicted: Row) -> dict[str, float]:
    labels, valid = read_target(row)
    figures = {}
    kind = "labels" if predicted["labels"] else "mask"
    if predicted[kind]:
        found = _fitting(read_labels(_path(predicted, kind)), labels)
        figures["disagreement"] = disagreement(
            *(instance_labels(np.where(valid, one, 0)) for one in (labels, found))
        )
    if predicted["probability"]:
        # of classes: that a voxel is of any
        stored = read_image(_path(predicted, "probability")).data.max(axis=0)
        scale = np.iinfo(stored.dtype).max if stored.dtype.kind == "u" else 1.0
        probability = _fitting(stored, labels).astype(np.float32) / scale
        figures["uncertainty"] = uncertainty(
            np.where(valid, probability, 0), np.where(valid, labels > 0, False)
        )
    return figures


def _path(row: Row, column: str) -> Path:
    return row_file(row, column)


def _fitting(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if found.shape != labels.shape:
        raise ValueError(f"predicted shape {found.shape} but the segmentation is {labels.shape}")
    return found


def _track(rows: Sequence[Row], progress: bool) -> Iterable[Row]:
    if not progress:
        return rows
    from rich.progress import track

    from cytoloop.terminal import stderr_console

    return track(
        rows,
        "comparing predictions",
        console=stderr_console,
        transient=True,
        disable=not stderr_console.is_terminal,
    )
