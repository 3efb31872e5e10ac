"""Pairs of predictions and truths, made by id and never by order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ManifestError, join_names
from cytoloop.evaluation.inputs.images import (
    PREDICTION_COLUMNS,
    THRESHOLD_COLUMN,
    UNKNOWN_COLUMN,
    prediction_column,
)
from cytoloop.io.listing import list_images
from cytoloop.io.names import stem
from cytoloop.manifest import Row, read_manifest
from cytoloop.urls import is_remote

AUTO = "auto"
PREDICTION_TYPES = (AUTO, "labels", "mask", "probability")


@dataclass(frozen=True)
class PairedRows:
    """Predictions with their truths, and rows without a partner.

    Attributes
    ----------
    pairs : list of (Row, Row)
        Prediction and truth.
    without_truth, without_prediction : list of str
        Ids. A failed prediction counts as missing.
    rejected : list of str
        Ids of predictions whose truth is rejected.
    failures : dict of str to str
        Id of a prediction without an image, and the reason.
    """

    pairs: list[tuple[Row, Row]]
    without_truth: list[str]
    without_prediction: list[str]
    rejected: list[str]
    failures: dict[str, str]


def pair_rows(
    predictions: str | Path,
    truth: str | Path,
    predictions_are: str = AUTO,
    threshold: float = 0.5,
) -> PairedRows:
    """Pair predictions with truths.

    Parameters
    ----------
    predictions : str or Path
        ``predictions.csv``, or a folder, glob, file or URL of label images.
    truth : str or Path
        A manifest, or a folder, glob, file or URL of label images.
    predictions_are : str
        One of `PREDICTION_TYPES`. For a table it is the column to score.
    threshold : float
        Probability (0 to 1) above which a voxel is foreground, for ``probability``.

    Raises
    ------
    ManifestError, ImageError
        No files, two files with the same name, or no pair.
    """
    is_known = predictions_are != AUTO
    predicted = _rows_by_id(str(predictions), predictions_are if is_known else UNKNOWN_COLUMN)
    if is_known:
        dropped = {*PREDICTION_COLUMNS} - {predictions_are}
        cut = str(threshold) if predictions_are == "probability" else ""
        for row in predicted.values():
            kept = {name: cell for name, cell in row.values.items() if name not in dropped}
            row.values = {**kept, THRESHOLD_COLUMN: cut}
    return pair_tables(predicted, str(predictions), str(truth))


def annotation_rows(source: str | Path) -> dict[str, Row]:
    """Return rows by id whose segmentation (column ``seg1``) stands where predictions do.

    Parameters
    ----------
    source : str or Path
        A manifest, or a folder, glob, file or URL of label images.
    """
    rows = _rows_by_id(str(source), UNKNOWN_COLUMN)
    for row in rows.values():
        if not any(row[column] for column in PREDICTION_COLUMNS):
            row.values[UNKNOWN_COLUMN] = row["seg1"]
    return rows


def pair_tables(predicted: Mapping[str, Row], predictions: str, truth: str) -> PairedRows:
    """Pair rows with truths, see `pair_rows`; `predictions` is their source, for messages."""
    predicted = {name: row for name, row in predicted.items() if row["status"] != "reject"}
    known = _rows_by_id(truth, "seg1")
    true = {name: row for name, row in known.items() if row["status"] != "reject"}
    # a failed prediction has a row in predictions.csv, but no image
    usable = {name: row for name, row in predicted.items() if prediction_column(row)}
    both = [name for name in true if name in usable]
    if not both:
        raise ManifestError(
            predictions,
            [
                "no prediction has a truth of the same id",
                f"predictions: {join_names(predicted) or 'none'}",
                f"truth ({truth}): {join_names(true) or 'none'}",
            ],
            "Ids are the column `id`, or the file names without suffix.",
        )
    return PairedRows(
        pairs=[(usable[name], true[name]) for name in both],
        without_truth=[name for name in predicted if name not in known],
        without_prediction=[name for name in true if name not in usable],
        rejected=[name for name in predicted if name in known and name not in true],
        failures={
            name: row["reason"] or "no image that can be scored"
            for name, row in predicted.items()
            if name in true and name not in usable
        },
    )


def _rows_by_id(source: str, column: str) -> dict[str, Row]:
    """Return the rows of a table, or a row with this column for each file."""
    if source.lower().endswith(".csv"):
        rows = read_manifest(source, ()).rows
    elif is_remote(source):
        rows = [Row({"id": stem(source), column: source}, number=1)]
    else:
        files = [path.absolute() for path in list_images(source)]
        rows = [
            Row({"id": stem(path), column: str(path)}, path.parent, number)
            for number, path in enumerate(files, start=1)
        ]
    found: dict[str, Row] = {}
    problems = []
    for row in rows:
        if row.id in found:
            problems.append(
                f"two images are named {row.id!r}: rows {found[row.id].number}, {row.number}"
            )
        found[row.id] = row
    if problems:
        raise ManifestError(source, problems, "Give each image its own id.")
    return found
