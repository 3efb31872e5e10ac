"""Pairs of predictions and truths, made by id and never by order."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cytoloop.errors import ManifestError, join_names
from cytoloop.evaluation.inputs.images import (
    PREDICTION_COLUMNS,
    STATED_COLUMN,
    THRESHOLD_COLUMN,
    UNKNOWN_COLUMN,
    prediction_column,
)
from cytoloop.evaluation.inputs.planes import choose_planes, drop_other_planes
from cytoloop.io.file_keys import STEM, compile_pattern, key_of, suggest_key
from cytoloop.io.listing import list_images
from cytoloop.io.names import stem
from cytoloop.manifest import Row, expand_row, is_table, read_manifest, table_in
from cytoloop.urls import is_remote

log = logging.getLogger(__name__)

_SELECT_REPAIR = (
    "The files of one side have several time points or scenes, those of the other side have not. "
    "Select those that the other side shows: time=NUMBER from 0, scene=NAME."
)
AUTO = "auto"
PREDICTION_TYPES = (AUTO, "labels", "mask", "probability")


@dataclass(frozen=True)
class Series:
    """Which scenes and time points of files with several count, and their axes.

    Attributes
    ----------
    scene, time : str, int or None
        None or ``all``: each is a row.
    axes, axes_truth : str or None
        Axes of predictions and truths, as the user states them.
    planes : bool, str or None
        See `cytoloop.evaluation.inputs.planes.choose_planes`.
    """

    scene: str | int | None = None
    time: str | int | None = None
    axes: str | None = None
    axes_truth: str | None = None
    planes: bool | str | None = None


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
    key: str = STEM,
    series: Series | None = None,
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
    key : str
        ``stem``, the file name without its image suffix; or a regular expression with a part
        ``(?P<id>...)`` that is searched in the file name. Rows of tables have their own ids.
    series : Series, optional
        Scenes, time points and axes of the files.

    Raises
    ------
    ConfigError
        A wrong `key`.
    ManifestError, ImageError
        No files, two files with the same name, or no pair.
    """
    is_known = predictions_are != AUTO
    column = predictions_are if is_known else UNKNOWN_COLUMN
    predicted = _rows_by_id(str(predictions), column, key)
    if is_known:
        dropped = {*PREDICTION_COLUMNS} - {predictions_are}
        cut = str(threshold) if predictions_are == "probability" else ""
        for row in predicted.values():
            kept = {name: cell for name, cell in row.values.items() if name not in dropped}
            row.values = {**kept, THRESHOLD_COLUMN: cut, STATED_COLUMN: predictions_are}
    return pair_tables(predicted, str(predictions), str(truth), key, series)


def annotation_rows(source: str | Path, key: str = STEM) -> dict[str, Row]:
    """Return rows by id whose segmentation (column ``seg1``) stands where predictions do.

    Parameters
    ----------
    source : str or Path
        A manifest, or a folder, glob, file or URL of label images.
    key : str
        See `pair_rows`.
    """
    rows = _rows_by_id(str(source), UNKNOWN_COLUMN, key)
    for row in rows.values():
        if not any(row[column] for column in PREDICTION_COLUMNS):
            row.values[UNKNOWN_COLUMN] = row["seg1"]
    return rows


def pair_tables(
    predicted: Mapping[str, Row],
    predictions: str,
    truth: str,
    key: str = STEM,
    series: Series | None = None,
) -> PairedRows:
    """Pair rows with truths, see `pair_rows`; `predictions` is their source, for messages.

    A file with several scenes or time points becomes a row for each; so does a stack that is scored
    plane by plane.
    """
    series = series or Series()
    known = _rows_by_id(truth, "seg1", key)
    predicted = _with_id_of_only_truth(predicted, known, (predictions, truth))
    files_match = bool(set(predicted) & set(known))
    predicted, known = choose_planes(predicted, known, series.planes)
    predicted = _expand(predictions, predicted, prediction_column, series.axes, series)
    known = _expand(truth, known, _truth_column, series.axes_truth, series)
    predicted = drop_other_planes(predicted, known)
    predicted = {name: row for name, row in predicted.items() if row["status"] != "reject"}
    true = {name: row for name, row in known.items() if row["status"] != "reject"}
    # a failed prediction has a row in predictions.csv, but no image
    usable = {name: row for name, row in predicted.items() if prediction_column(row)}
    both = [name for name in true if name in usable]
    if not both and (without := [row for name, row in predicted.items() if name in true]):
        reasons = [f"{row.id}: {row['reason'] or row['status'] or 'no image'}" for row in without]
        raise ManifestError(predictions, reasons, "Predict these images again.")
    if not both:
        raise ManifestError(
            predictions,
            [
                "no prediction has a truth of the same id",
                f"predictions: {join_names(predicted) or 'none'}",
                f"truth ({truth}): {join_names(true) or 'none'}",
            ],
            _SELECT_REPAIR if files_match else _suggest_repair(predicted, true),
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


def _truth_column(row: Row) -> str | None:
    return row["base_image"] or "seg1"


def _expand(
    source: str,
    rows: Mapping[str, Row],
    find_column: Callable[[Row], str | None],
    axes: str | None,
    series: Series,
) -> dict[str, Row]:
    """Return a row for each scene and time point of the file that counts of each row.

    Raises
    ------
    ManifestError
        Two rows get the same id.
    """
    found: dict[str, Row] = {}
    repeated: list[str] = []
    for row in rows.values():
        column = find_column(row)
        cells = {"scene": series.scene, "time": series.time, "axes": series.axes}
        if column:
            cells[f"axes_{column}"] = axes
        added = {name: str(v) for name, v in cells.items() if v is not None and not row[name]}
        row = replace(row, values={**row.values, **added})
        is_local = bool(column) and not is_remote(row[column or ""])
        parts = expand_row(row, column or "") if is_local else [row]
        repeated += [part.id for part in parts if part.id in found]
        found |= {part.id: part for part in parts}
    if repeated:
        raise ManifestError(
            source,
            [f"two images are named {name!r}: a file, and a part of a file" for name in repeated],
            "Rename one of these files.",
        )
    return found


def _with_id_of_only_truth(
    predicted: Mapping[str, Row], known: Mapping[str, Row], sources: tuple[str, str]
) -> Mapping[str, Row]:
    """Return the predictions, one alone with the id of the only truth.

    One file on each side is a pair, whatever the names. Two tables have ids that were stated.
    """
    is_single = len(predicted) == len(known) == 1 and set(predicted) != set(known)
    if not is_single or all(is_table(table_in(source)) for source in sources):
        return predicted
    (old, row), (new, _) = next(iter(predicted.items())), next(iter(known.items()))
    log.warning("the only prediction, %s, is scored against the only truth, %s", old, new)
    return {new: replace(row, values={**row.values, "id": new})}


def _suggest_repair(predicted: Mapping[str, Row], true: Mapping[str, Row]) -> str:
    """Return the key that would pair all files by their names, or what ids are."""
    sources = {"truth": _file_names(true), "predictions": _file_names(predicted)}
    if all(sources.values()) and (suggestion := suggest_key(sources)):
        command = f"key={shlex.quote(suggestion)}"
        return f"{command} would pair all {len(true)} images; check it and give it."
    return (
        "Ids are the column `id`, or the file names without suffix. Give key='(?P<id>...)', a "
        "regular expression for the part that matching file names share."
    )


def _file_names(rows: Mapping[str, Row]) -> list[str]:
    """Return the names of the files in rows without a table; ids of a table count as names."""
    columns = (*PREDICTION_COLUMNS, "seg1")
    found = []
    for row in rows.values():
        path = next((row[name] for name in columns if row[name]), "")
        found.append(path if stem(path) == row.id else f"{row.id}.tif")
    return found


def _rows_by_id(source: str, column: str, key: str) -> dict[str, Row]:
    """Return the rows of a table, or a row with this column for each file."""
    pattern = None if key == STEM else compile_pattern(key, "id", "key")
    source = str(table_in(source))
    if is_table(source):
        rows = read_manifest(source, ()).rows
    elif is_remote(source):
        rows = [Row({"id": key_of(source, pattern), column: source}, number=1)]
    else:
        files = [path.absolute() for path in list_images(source)]
        rows = [
            Row({"id": key_of(path, pattern), column: str(path)}, path.parent, number)
            for number, path in enumerate(files, start=1)
        ]
        if without := [path.name for path, row in zip(files, rows, strict=True) if not row["id"]]:
            raise ManifestError(
                source,
                [f"key={key} is not found in {name}" for name in without],
                "Correct key=, or name only the files that have it with a quoted pattern.",
            )
    found: dict[str, Row] = {}
    problems = []
    for row in rows:
        if row.id in found:
            first = found[row.id]
            names = " and ".join(Path(one[column]).name or str(one.number) for one in (first, row))
            problems.append(
                f"two images are named {row.id!r}: rows {first.number}, {row.number} ({names})"
            )
        found[row.id] = row
    if problems:
        raise ManifestError(source, problems, "Give each image its own id.")
    return found
