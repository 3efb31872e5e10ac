"""Predicted and true objects of a row, read from its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cc3d
import fastremap
import numpy as np

from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation.inputs.probability_maps import read_probability
from cytoloop.io.labels import as_labels, read_labels
from cytoloop.io.notes import note
from cytoloop.io.read import read_header, read_plane_or_stack
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Part, Row, format_spacing, part_of, stated_axes
from cytoloop.truth.mistaken_labels import suspicion
from cytoloop.truth.plausible_labels import why_not_labels
from cytoloop.truth.targets import read_segmentation, read_target
from cytoloop.urls import is_remote

UNKNOWN_COLUMN = "labels_or_mask"
"""Column of a file whose content is decided when it is read."""

PREDICTION_COLUMNS = ("labels", "mask", UNKNOWN_COLUMN)
"""Columns that a prediction is read from; the first filled one is used."""

THRESHOLD_COLUMN = "above"
"""Column of the threshold (0 to 1): where filled, objects are cut from ``probability``."""

STATED_COLUMN = "predictions_are"
"""Column of what the user says that predictions are; it overrules their content."""

_OWN_COLUMN = "model_sha256"
"""Filled in the tables of `cytoloop predict`, whose labels and masks need no check."""

_SAME_SPACING = 0.01
"""Voxel sizes that differ by less, relative to each other, are the same."""

_REPAIR = (
    "Set predictions_are=probability (with threshold=0.5) for probability maps, "
    "predictions_are=labels for labels. For `cytoloop predict`, pass its predictions.csv."
)


def prediction_column(row: Row) -> str | None:
    """Return the column that a prediction is read from, None where none is filled."""
    names = ("probability",) if row[THRESHOLD_COLUMN] else PREDICTION_COLUMNS
    return next((name for name in names if row[name]), None)


def read_prediction(row: Row) -> tuple[np.ndarray, bool]:
    """Return predicted objects, and whether they are the connected components of a mask.

    A cell of ``labels`` is read as labels. A file of unknown content is a mask if it has one value
    above 0, else labels. Where `THRESHOLD_COLUMN` is filled, the mask is the probability above it.

    Returns
    -------
    objects : ndarray of unsigned integers
        ([Z,] Y, X).
    is_mask : bool

    Raises
    ------
    ImageError
        The row names no image, or its file cannot be read or looks like a probability map.
    ManifestError
        A threshold that is not a number.
    """
    column = prediction_column(row)
    path = row.file(column) if column else None
    if path is None:
        raise ImageError(row.id, "has no labels and no mask", "Predict it again.")
    if column == "probability":
        data, maximum = read_probability(path, part_of(row, column, path))
        return label_mask(data > _threshold(row) * maximum), True
    part, ignore = part_of(row, str(column), path), row.ignore_labels
    if column == UNKNOWN_COLUMN:
        labels = _read_unknown(path, part, ignore)
    else:
        labels = read_labels(path, None, part.scene, part.time, part.axes, ignore, part.plane)
        if not row[_OWN_COLUMN] and row[STATED_COLUMN] in ("", "auto"):
            _refuse_implausible(path, labels)
    if not row[_OWN_COLUMN]:
        _note_suspicion(row, "prediction", labels)
    from_mask = column == "mask" or (
        column == UNKNOWN_COLUMN and bool(labels.any()) and is_mask(labels)
    )
    return (label_mask(labels) if from_mask else labels), from_mask


def _read_unknown(path: Path, part: Part, ignore: Sequence[int]) -> np.ndarray:
    """Return the labels (or the mask) in a file of unknown content."""
    if read_header(path, part.scene, part.axes).channels == ("probability",):
        raise ImageError(str(path), "is a probability map, expected labels", _REPAIR)
    data = read_plane_or_stack(path, None, part.scene, part.time, part.axes, part.plane)
    _refuse_implausible(path, data)
    return as_labels(path, data, ignore)


def _note_suspicion(row: Row, what: str, labels: np.ndarray) -> None:
    """Warn of a mask that looks inverted, and of an ignore value that counts as an object."""
    if text := suspicion(labels):
        note(row.id, f"its {what} {text}")


def _refuse_implausible(path: Path, data: np.ndarray) -> None:
    """Refuse an image that looks like a probability map, a photograph or a blurred mask."""
    if reason := why_not_labels(data):
        raise ImageError(
            str(path),
            f"{reason}: a probability map or a photograph, expected labels (one number an object)",
            _REPAIR,
        )


def _threshold(row: Row) -> float:
    try:
        return float(row[THRESHOLD_COLUMN])
    except ValueError as error:
        raise ManifestError(
            row.where(THRESHOLD_COLUMN),
            f"{row[THRESHOLD_COLUMN]!r} is not a threshold",
            "Expected a number from 0 to 1.",
        ) from error


def read_truth(row: Row) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return true objects, the region that counts, and whether the objects come from a mask.

    Returns
    -------
    truth : ndarray of unsigned integers
        ([Z,] Y, X).
    valid : ndarray of bool
        Same shape; False = excluded.
    is_mask : bool
        The objects are the connected components of a mask.

    Raises
    ------
    ImageError, ManifestError
        See `cytoloop.truth.targets.read_target`.
    """
    truth, valid = read_target(row)
    if reason := why_not_labels(np.where(valid, truth, 0)):
        raise ImageError(
            row.id,
            f"its truth {reason}; expected labels (one number an object) or a mask",
            "Threshold it, and save it without compression.",
        )
    _note_suspicion(row, "truth", np.where(valid, truth, 0))
    from_mask = is_mask(np.where(valid, truth, 0))
    if row["merge_mask"] and not from_mask:
        # two merged masks get different numbers, and then look like labels
        from_mask = all(is_mask(read_segmentation(row, name)) for name in ("seg1", "seg2"))
    from_mask = from_mask and bool(truth.any())
    return (label_mask(truth) if from_mask else truth), valid, from_mask


def find_spacing(
    prediction: Row, true: Row, default: Sequence[float] | None = None
) -> Spacing | None:
    """Return the voxel size (Z, Y, X) of an image in um, None where it is unknown.

    The order is: table of truth, table of predictions, files (truth, prediction, raw), default.
    """
    known = true.spacing_um or prediction.spacing_um
    columns = (
        (true, true["base_image"] or "seg1"),
        *((prediction, column) for column in (*PREDICTION_COLUMNS, "probability")),
        *((prediction, "raw"), (true, "raw")),
    )
    for row, column in columns:
        if known is None and row[column] and not is_remote(row[column]):
            known = _spacing_of_file(row, column)
    if known or not default:
        return known
    z, y, x = (float(step) for step in default)
    return (z, y, x)


def note_spacing_conflict(prediction: Row, true: Row, ndim: int) -> None:
    """Warn if the voxel sizes of prediction and truth differ.

    Distances are then right for the truth only, or the two show different images.

    Parameters
    ----------
    prediction, true : Row
    ndim : int
        2 or 3; in 2D the size along Z does not count.
    """
    column = prediction_column(prediction)
    stated = {
        "truth": true.spacing_um or _spacing_of_column(true, true["base_image"] or "seg1"),
        "prediction": prediction.spacing_um or _spacing_of_column(prediction, column),
    }
    sizes = [size[-ndim:] for size in stated.values() if size]
    if len(sizes) < 2 or np.allclose(sizes[0], sizes[1], rtol=_SAME_SPACING, atol=0):
        return
    texts = [f"{name} {format_spacing(size)} um" for name, size in stated.items()]
    note(prediction.id, f"voxel sizes differ: {', '.join(texts)}")


def _spacing_of_column(row: Row, column: str | None) -> Spacing | None:
    if column is None or not row[column] or is_remote(row[column]):
        return None
    return _spacing_of_file(row, column)


def _spacing_of_file(row: Row, column: str) -> Spacing | None:
    path = row.file(column)
    try:
        if path is None:
            return None
        return read_header(path, axes=stated_axes(row, column)).spacing_um
    except ImageError:  # scores need no raw image: it may be gone
        return None


def is_mask(labels: np.ndarray) -> bool:
    """Return whether an image has at most one value above 0, be it 1 or 255."""
    return int(np.count_nonzero(fastremap.unique(labels))) <= 1


def label_mask(mask: np.ndarray) -> np.ndarray:
    """Return the components of a mask, connected through faces (6; in 2D through edges, 4)."""
    foreground = np.ascontiguousarray(mask > 0).astype(np.uint8)
    return np.asarray(
        cc3d.connected_components(foreground, connectivity=4 if mask.ndim == 2 else 6)
    )
