"""What the objects of a segmentation are: its labels, or the pieces of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cc3d
import fastremap
import numpy as np

from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation.inputs.probability_maps import describe_map, read_map
from cytoloop.io.labels import as_labels, read_labels
from cytoloop.io.read import read_header, read_image
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_segmentation, read_target
from cytoloop.urls import is_remote

GUESS = "labels_or_mask"
"""Column of a prediction that is just a file: what it holds shows when it is read."""

PICTURES = ("labels", "mask", GUESS)
"""Columns that a prediction is read from; the first one filled is taken."""

ABOVE = "above"
"""Column of the threshold (0 to 1): objects are the pieces of ``probability`` above it."""

_WHICH_IS_IT = (
    "Say predictions_are=probability (with threshold=0.5) if it is a probability map, "
    "predictions_are=labels if these are labels. Of `cytoloop predict`, give predictions.csv."
)


def picture_column(row: Row) -> str | None:
    """Return the column that a prediction is read from, None where it has no picture."""
    names = ("probability",) if row[ABOVE] else PICTURES
    return next((name for name in names if row[name]), None)


def read_prediction(row: Row) -> np.ndarray:
    """Return predicted objects, see `read_objects`."""
    return read_objects(row)[0]


def read_objects(row: Row) -> tuple[np.ndarray, bool]:
    """Return predicted objects: the labels, else the pieces of the mask.

    A ``labels`` cell is taken at its word. A file of which nothing is known (the predictions
    are a folder or glob) is a mask if it holds one label only. Where `ABOVE` is filled, objects
    are the pieces of the probability above it.

    Returns
    -------
    objects : ndarray of unsigned integers
        ([Z,] Y, X).
    from_mask : bool
        They are pieces of a mask.

    Raises
    ------
    ImageError
        The row has no picture, the file cannot be read, or it is a map (or photograph) of which
        nobody says what it is.
    ManifestError
        A threshold that is none.
    """
    column = picture_column(row)
    path = row.file(column) if column else None
    if path is None:
        raise ImageError(row.id, "has neither labels nor mask", "Predict it again.")
    if column == "probability":
        data, top = read_map(path)
        return split_mask(data > _threshold(row) * top), True
    labels = _read_unknown(path) if column == GUESS else read_labels(path)
    from_mask = column == "mask" or (column == GUESS and labels.any() and is_mask(labels))
    return (split_mask(labels) if from_mask else labels), bool(from_mask)


def _read_unknown(path: Path) -> np.ndarray:
    """Return the labels of a file that may hold something else."""
    if read_header(path).channels == ("probability",):
        raise ImageError(str(path), "is a probability map, expected labels", _WHICH_IS_IT)
    data = read_image(path, 0).data[0]
    if found := describe_map(data):
        raise ImageError(
            str(path),
            f"{found}: a probability map or a photograph, expected labels (one number an object)",
            _WHICH_IS_IT,
        )
    return as_labels(path, data)


def _threshold(row: Row) -> float:
    try:
        return float(row[ABOVE])
    except ValueError as error:
        raise ManifestError(
            row.where(ABOVE), f"{row[ABOVE]!r} is no threshold", "Expected a number from 0 to 1."
        ) from error


def read_truth(row: Row) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return true objects, what counts, and whether the objects are pieces of a mask.

    Returns
    -------
    truth : ndarray of unsigned integers
        ([Z,] Y, X).
    valid : ndarray of bool
        Same shape; False = excluded.
    from_mask : bool

    Raises
    ------
    ImageError, ManifestError
        See `cytoloop.truth.targets.read_target`.
    """
    truth, valid = read_target(row)
    from_mask = is_mask(np.where(valid, truth, 0))
    if row["merge_mask"] and not from_mask:
        # merging numbers the two apart: two masks look like two objects
        from_mask = all(is_mask(read_segmentation(row, name)) for name in ("seg1", "seg2"))
    from_mask = from_mask and bool(truth.any())
    return (split_mask(truth) if from_mask else truth), valid, from_mask


def voxel_size(
    prediction: Row, true: Row, default: Sequence[float] | None = None
) -> Spacing | None:
    """Return the voxel size (Z, Y, X) in um of an image, None where nobody states it.

    What the tables say comes first (that of the truth before that of the prediction), then the
    files: segmentation, prediction, raw image; then the default.
    """
    known = true.spacing_um or prediction.spacing_um
    columns = (
        (true, true["base_image"] or "seg1"),
        *((prediction, c) for c in (*PICTURES, "probability")),
    )
    for row, column in (*columns, (prediction, "raw"), (true, "raw")):
        if known is None and row[column] and not is_remote(row[column]):
            known = _spacing_of_file(row, column)
    return known or (_triple(default) if default else None)


def _spacing_of_file(row: Row, column: str) -> Spacing | None:
    path = row.file(column)
    try:
        return read_header(path).spacing_um if path is not None else None
    except ImageError:  # a raw image that is gone is not needed for scores
        return None


def _triple(spacing: Sequence[float]) -> Spacing:
    z, y, x = (float(s) for s in spacing)
    return (z, y, x)


def is_mask(labels: np.ndarray) -> bool:
    """Tell whether there is one value above 0 at most, be it 1 or 255."""
    return int(np.count_nonzero(fastremap.unique(labels))) <= 1


def split_mask(mask: np.ndarray) -> np.ndarray:
    """Return the pieces of a mask; voxels connect through faces (6; in 2D through edges, 4)."""
    foreground = np.ascontiguousarray(mask > 0).astype(np.uint8)
    return np.asarray(
        cc3d.connected_components(foreground, connectivity=4 if mask.ndim == 2 else 6)
    )
