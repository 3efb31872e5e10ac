"""Images whose values are classes, and the classes that a table of predictions names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError, ManifestError
from cytoloop.evaluation.inputs.images import UNKNOWN_COLUMN
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row, is_table, part_of, read_manifest, table_in
from cytoloop.truth.classes import parse_class_names

_COLUMNS = ("mask", UNKNOWN_COLUMN, "labels")
"""Columns that predicted classes are read from; the first filled one is used."""


def stated_classes(predictions: str | Path) -> tuple[str, ...]:
    """Return the classes that a table of predictions names; empty without any.

    Parameters
    ----------
    predictions : str or Path
        ``predictions.csv`` or its folder; a folder of images, glob or file names no classes.

    Raises
    ------
    ManifestError
        Rows with different classes.
    """
    predictions = table_in(predictions)
    if not is_table(predictions):
        return ()
    stated = {row["classes"] for row in read_manifest(predictions, ()) if row["classes"]}
    if len(stated) > 1:
        raise ManifestError(
            str(predictions),
            f"rows name different classes: {'; '.join(sorted(stated))}",
            "Evaluate the predictions of each model separately.",
        )
    return parse_class_names(stated.pop().split(), str(predictions)) if stated else ()


def read_class_image(row: Row) -> np.ndarray:
    """Return the predicted class of each voxel, ([Z,] Y, X) of unsigned integers.

    Raises
    ------
    ImageError
        The row names no image, or its file cannot be read.
    """
    column = next((name for name in _COLUMNS if row[name]), None)
    path = row.file(column) if column else None
    if path is None:
        raise ImageError(row.id, "has no class image", "Predict it again, with save=[mask].")
    part = part_of(row, str(column), path)
    return read_labels(path, None, part.scene, part.time, part.axes, plane=part.plane)
