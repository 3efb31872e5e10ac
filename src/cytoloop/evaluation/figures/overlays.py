"""Pictures of the worst images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import CytoloopError
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.image_figures import image_figure
from cytoloop.evaluation.inputs.images import read_prediction, read_truth, voxel_size
from cytoloop.io.names import safe_name
from cytoloop.io.read import read_image
from cytoloop.io.remote import local_path
from cytoloop.io.writers.tiff import write_png
from cytoloop.manifest import Row

log = logging.getLogger(__name__)


def worst_first(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the places of rows in the order of F1 at .5, then Dice."""
    return sorted(range(len(rows)), key=lambda i: (rows[i]["f1_50"], rows[i]["dice"]))


def write_overlays(evaluation: Evaluation, folder: str | Path, worst: int = 8) -> list[Path]:
    """Draw the worst images (by F1 at .5, then Dice) and return the PNG files.

    A raw image or probability that is not known, cannot be read or is of another shape is left
    out of the picture, which is said in the log: the scores do not depend on it.
    """
    written = []
    for rank, i in enumerate(worst_first(evaluation.rows)[: max(worst, 0)], start=1):
        row, (prediction, true) = evaluation.rows[i], evaluation.pairs[i]
        truth, valid, _ = read_truth(true)
        raw = read_beside(row, "raw", truth.shape)
        figure = image_figure(
            (truth > 0).astype(np.float32) if raw is None else raw,
            truth,
            read_beside(row, "probability", truth.shape),
            read_prediction(prediction),
            None if valid.all() else valid,
            f"{row['id']}   Dice {row['dice']:.3f}   F1 {row['f1_50']:.3f}",
            voxel_size(prediction, true),
        )
        name = safe_name(str(row["id"]))
        path = Path(folder) / f"{rank:02d}_{name[:80]}.png"
        write_png(path, figure)
        written.append(path)
    return written


def read_beside(
    row: Row | Mapping[str, Any], column: str, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Return the first channel of a file of the row, None where it is of no use."""
    if not row[column]:
        return None
    try:
        if column == "raw":
            choice = (row["channel"] or 0, row["scene"] or None, int(row["time"] or 0))
            data = read_image(local_path(row["raw"]), *choice).data[0]
        else:
            data = read_image(local_path(row[column])).data[0]
    except (CytoloopError, ValueError) as error:
        log.warning("%s: picture without %s: %s", row["id"], column, error)
        return None
    if data.shape != shape:
        log.warning(
            "%s: picture without %s: shape %s, truth %s", row["id"], column, data.shape, shape
        )
        return None
    return data
