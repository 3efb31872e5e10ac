"""An evaluation as the panel Compare shows it: worst image first, objects with error colours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.curation.decisions.latest import Decision
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.evaluation.comparison.output import JSON_FILE
from cytoloop.evaluation.figures.artists import ERROR_COLOURS
from cytoloop.evaluation.output.tables import METRICS_FILE, OBJECTS_FILE
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, read_manifest, read_table
from cytoloop.truth.targets import read_target
from cytoloop.viewer.session.images import contrast_limits
from cytoloop.viewer.session.large import LargeTarget, is_large, open_labels, open_raw
from cytoloop.viewer.session.lazy import Voxels, lazy_channels

SCORES = ("dice", "f1_50", "mean_ap")
"""Scores in the table, if the evaluation has them; the first one sorts it."""
COMPARISON = "comparison"
"""Sub-folder of the scores for a comparison with others."""
SIDES = {"true": "truth", "predicted": "prediction"}
OTHER = "other prediction"
"""Layer of another model."""


@dataclass(frozen=True)
class Scores:
    """An evaluation.

    Attributes
    ----------
    names : tuple of str
        Columns of scores.
    images : list of dict
        ``id`` and the scores of each image, worst first.
    objects : dict of str to list of dict
        Image to its rows of ``objects.csv``: errors first.
    predictions, truth : dict of str to Row
        By id.
    """

    names: tuple[str, ...]
    images: list[dict[str, str]]
    objects: dict[str, list[dict[str, str]]]
    predictions: dict[str, Row]
    truth: dict[str, Row]


@dataclass(frozen=True, eq=False)
class Compared:
    """The pixels of an image of an evaluation.

    Attributes
    ----------
    id : str
    raw : sequence of ndarray or LazyImage, or None
        Channels ([Z,] Y, X).
    labels : mapping of str to ndarray or LazyImage
        ``truth``, ``prediction`` and, of another model, `OTHER`: ([Z,] Y, X).
    colours : mapping of str to mapping of int to str
        The same names to object to the colour of its error type.
    spacing_um : tuple of float or None
    contrast : tuple of (float, float)
    """

    id: str
    raw: Sequence[Voxels] | np.ndarray | None
    labels: Mapping[str, Voxels]
    colours: Mapping[str, Mapping[int, str]]
    spacing_um: Spacing | None
    contrast: tuple[tuple[float, float], ...]


def evaluate_words(values: Mapping[str, str]) -> list[str]:
    """Return the words of `cytoloop evaluate`.

    Raises
    ------
    ConfigError
        A field is empty; all of them at once.
    """
    labels = {"predictions": "Predictions", "truth": "Truth", "output": "Scores"}
    missing = [f"{label} is empty" for key, label in labels.items() if not values.get(key)]
    if missing:
        raise ConfigError("compare", missing, "Fill in these fields.")
    words = [f"{key}={values[key]}" for key in labels]
    return [*words, "overwrite=true"]


def compare_words(values: Mapping[str, str]) -> list[str]:
    """Return the words of `cytoloop compare`, which tests whether these scores are better.

    Raises
    ------
    ConfigError
        A field is empty; all of them at once.
    """
    labels = {"a": "Other scores", "output": "Scores"}
    missing = [f"{label} is empty" for key, label in labels.items() if not values.get(key)]
    if missing:
        raise ConfigError("compare", missing, "Fill in these fields.")
    output = Path(values["output"])
    words = [f"a={values['a']}", f"b={output}", f"output={output / COMPARISON}"]
    return [*words, "overwrite=true"]


def read_verdict(folder: str | Path) -> str:
    """Return the verdict of a comparison in a sentence.

    Raises
    ------
    ManifestError
        The folder holds no comparison.
    """
    path = Path(folder) / COMPARISON / JSON_FILE
    if not path.is_file():
        raise ManifestError(str(path), "no such comparison", "Compare two evaluations first.")
    found = json.loads(path.read_text(encoding="utf-8"))[0]
    return f"These scores against the others: {found['verdict']}. {found['reason']}"


def read_scores(folder: str | Path, predictions: str, truth: str) -> Scores:
    """Return an evaluation, worst image first.

    Raises
    ------
    ManifestError
        The folder holds no evaluation, or a table cannot be read.
    """
    folder = Path(folder)
    if not (folder / METRICS_FILE).is_file():
        raise ManifestError(str(folder), f"holds no {METRICS_FILE}", "Evaluate predictions first.")
    columns, images = read_table(folder / METRICS_FILE)[1:]
    names = tuple(name for name in SCORES if name in columns)
    if names:
        images.sort(key=lambda row: float(row[names[0]] or 2))
    objects: dict[str, list[dict[str, str]]] = {}
    if (folder / OBJECTS_FILE).is_file():
        for row in read_table(folder / OBJECTS_FILE)[2]:
            objects.setdefault(row["image"], []).append(row)
    for rows in objects.values():
        rows.sort(key=lambda row: (row["kind"] == "matched", float(row["iou"] or 0)))
    return Scores(
        names,
        images,
        objects,
        {row.id: row for row in read_manifest(predictions, ("id",))},
        {row.id: row for row in read_manifest(truth)},
    )


def read_other(folder: str | Path, truth: str) -> Scores:
    """Return an evaluation of another model; its table also names the predicted labels.

    Raises
    ------
    ManifestError
        It is not a folder with an evaluation.
    """
    if str(folder).startswith("runs:/"):
        raise ManifestError(
            str(folder), "is no folder", "Objects can be shown from a folder of scores only."
        )
    return read_scores(folder, str(Path(folder) / METRICS_FILE), truth)


def load_compared(scores: Scores, row_id: str, other: Scores | None = None) -> Compared:
    """Return the pixels of an image with the colours of its errors.

    Parameters
    ----------
    scores : Scores
    row_id : str
    other : Scores, optional
        Of another model; its objects become one more set of labels if it has this image.

    Raises
    ------
    ImageError, ManifestError
        A file cannot be read.
    """
    prediction, truth = scores.predictions[row_id], scores.truth[row_id]
    large = is_large(truth, "raw" if truth["raw"] else truth["base_image"] or "seg1")
    raw, spacing = _read_raw(truth, large)
    labels = {
        "truth": _true_labels(truth, large),
        "prediction": _predicted_labels(prediction, large),
    }
    if other is not None and row_id in other.predictions:
        labels[OTHER] = _predicted_labels(other.predictions[row_id], large)
    colours: dict[str, dict[int, str]] = {name: {} for name in labels}
    for row in scores.objects.get(row_id, []):
        colours[SIDES[row["side"]]][int(row["object"])] = ERROR_COLOURS[row["kind"]]
    if OTHER in labels and other is not None:
        rows = [row for row in other.objects.get(row_id, []) if row["side"] == "predicted"]
        colours[OTHER] = {int(row["object"]): ERROR_COLOURS[row["kind"]] for row in rows}
    return Compared(
        row_id,
        raw,
        labels,
        colours,
        truth.spacing_um or spacing,
        () if raw is None else tuple(contrast_limits(channel) for channel in raw),
    )


def _read_raw(row: Row, large: bool) -> tuple[Sequence[Voxels] | np.ndarray | None, Spacing | None]:
    """Return the channels ([Z,] Y, X) of a row and their voxel size."""
    if not row["raw"]:
        return None, None
    if large:
        pixels = open_raw(row)
        return lazy_channels(pixels), pixels.spacing_um
    image = read_image(row.file("raw") or "")
    return image.data, image.spacing_um


def _true_labels(row: Row, large: bool) -> Voxels:
    if not large:
        return read_target(row)[0]
    shape = open_labels(row, row["base_image"] or "seg1").shape
    return LargeTarget(row, Decision(), shape, row.spacing_um).target


def _predicted_labels(row: Row, large: bool) -> Voxels:
    """Return the predicted objects ([Z,] Y, X), or the mask of a model without objects."""
    if large:
        return open_labels(row, "labels" if row["labels"] else "mask")
    return read_labels(row.file("labels") or row.file("mask") or "")
