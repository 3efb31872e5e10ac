"""Which prediction belongs to which truth: by id, never by order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ManifestError, listed
from cytoloop.evaluation.inputs.images import ABOVE, GUESS, PICTURES, picture_column
from cytoloop.io.files import list_images
from cytoloop.io.names import stem
from cytoloop.manifest import Row, read_manifest
from cytoloop.urls import is_remote

AUTO = "auto"
KINDS = (AUTO, "labels", "mask", "probability")


@dataclass(frozen=True)
class PairedRows:
    """Predictions with their truths, and what has no partner.

    Attributes
    ----------
    pairs : list of (Row, Row)
        Prediction and truth.
    without_truth, without_prediction : list of str
        Ids. Predictions that failed count as missing.
    rejected : list of str
        Ids of predictions whose truth is rejected.
    failures : dict of str to str
        Id of a prediction without a picture to the reason.
    """

    pairs: list[tuple[Row, Row]]
    without_truth: list[str]
    without_prediction: list[str]
    rejected: list[str]
    failures: dict[str, str]


def pair_rows(
    predictions: str | Path, truth: str | Path, kind: str = AUTO, threshold: float = 0.5
) -> PairedRows:
    """Pair predictions with truths.

    Parameters
    ----------
    predictions : str or Path
        ``predictions.csv``, or a folder, glob, file or URL of label images.
    truth : str or Path
        A manifest, or a folder, glob, file or URL of label images.
    kind : str
        What the predictions are, one of `KINDS`: of a table, the column that is scored.
    threshold : float
        Probability (0 to 1) above which a voxel is foreground, for the kind ``probability``.

    Raises
    ------
    ManifestError, ImageError
        Nothing there, two files of one name, or no pair at all.
    """
    predicted = _by_id(str(predictions), GUESS if kind == AUTO else kind)
    if kind != AUTO:
        for row in predicted.values():
            kept = {k: v for k, v in row.values.items() if k == kind or k not in PICTURES}
            row.values = {**kept, ABOVE: str(threshold) if kind == "probability" else ""}
    return pair_tables(predicted, str(predictions), str(truth))


def annotation_rows(source: str | Path) -> dict[str, Row]:
    """Return rows by id whose segmentation (column ``seg1``) is read as if it were predicted.

    Parameters
    ----------
    source : str or Path
        A manifest, or a folder, glob, file or URL of label images.
    """
    rows = _by_id(str(source), GUESS)
    for row in rows.values():
        if not any(row[column] for column in PICTURES):
            row.values[GUESS] = row["seg1"]
    return rows


def pair_tables(predicted: Mapping[str, Row], predictions: str, truth: str) -> PairedRows:
    """Pair rows by id with truths, see `pair_rows`; `predictions` names where they come from."""
    predicted = {k: row for k, row in predicted.items() if row["status"] != "reject"}
    known = _by_id(truth, "seg1")
    true = {k: row for k, row in known.items() if row["status"] != "reject"}
    # a prediction that failed has a row in predictions.csv but no picture
    usable = {k: row for k, row in predicted.items() if picture_column(row)}
    both = [name for name in true if name in usable]
    if not both:
        raise ManifestError(
            predictions,
            [
                "no prediction has a truth of the same id",
                f"predictions: {listed(predicted) or 'none'}",
                f"truth ({truth}): {listed(true) or 'none'}",
            ],
            "Ids are the column `id`, or the file names without suffix.",
        )
    return PairedRows(
        pairs=[(usable[name], true[name]) for name in both],
        without_truth=[name for name in predicted if name not in known],
        without_prediction=[name for name in true if name not in usable],
        rejected=[name for name in predicted if name in known and name not in true],
        failures={
            name: row["reason"] or "no picture that can be scored"
            for name, row in predicted.items()
            if name in true and name not in usable
        },
    )


def _by_id(source: str, column: str) -> dict[str, Row]:
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
        raise ManifestError(source, problems, "Give each an id of its own.")
    return found
