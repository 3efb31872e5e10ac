"""Figures of the worst images, written as PNG files."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytoloop.errors import CytoloopError
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.image_figures import (
    class_figure,
    comparison_figure,
    image_figure,
)
from cytoloop.evaluation.inputs.classes import read_class_image
from cytoloop.evaluation.inputs.images import find_spacing, read_prediction, read_truth
from cytoloop.evaluation.inputs.probability_maps import read_map
from cytoloop.evaluation.leading import main_scores
from cytoloop.evaluation.metrics import OBJECT_SCORE, VOXEL_SCORE, label_of
from cytoloop.evaluation.scoring.image import ScoredImage
from cytoloop.io.names import safe_name
from cytoloop.io.writers.png import write_png
from cytoloop.manifest import Row
from cytoloop.redact import without_secrets
from cytoloop.truth.targets import read_raw, read_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


def worst_first(evaluation: Evaluation) -> list[ScoredImage]:
    """Return the images, the worst first: by F1 at .5, then Dice; masks and classes by Dice.

    Images without such a score come last.
    """
    scores = main_scores(evaluation.summary)

    def rank(image: ScoredImage) -> list[tuple[bool, float]]:
        return [(math.isnan(image.row[score]), image.row[score]) for score in scores]

    return sorted(evaluation.images, key=rank)


def write_overlays(evaluation: Evaluation, folder: str | Path, worst: int = 8) -> list[Path]:
    """Draw the worst images and return the PNG files.

    A raw image or a probability map that is missing, unreadable or of another shape is left out of
    the figure with a warning: the scores do not depend on it.
    """
    scores = (VOXEL_SCORE,) if evaluation.classes else (VOXEL_SCORE, OBJECT_SCORE)
    written = []
    for rank, image in enumerate(worst_first(evaluation)[:worst], start=1):
        row = image.row
        known = [name for name in scores if not math.isnan(row[name])]
        title = "   ".join([row["id"], *(f"{label_of(name)} {row[name]:.3f}" for name in known)])
        if evaluation.classes:
            sides = {"prediction": image.prediction}
            figure = draw_classes(sides, image.true, evaluation.classes, title, row)
        else:
            figure = _draw_objects(image, title)
        path = Path(folder) / f"{rank:02d}_{file_name(str(row['id']))}"
        write_png(path, figure)
        written.append(path)
    return written


def file_name(image: str) -> str:
    """Return the end of the name of an image's PNG file."""
    return f"{safe_name(image)[:80]}.png"


def _draw_objects(image: ScoredImage, title: str) -> Figure:
    truth, valid, _ = read_truth(image.true)
    # the table of scores holds no login of a URL; that of the truth may hold it
    is_same = without_secrets(image.true.location("raw")) == image.row["raw"]
    return image_figure(
        _read_optional(image.true if is_same else image.row, "raw", truth.shape),
        truth,
        _read_optional(image.row, "probability", truth.shape),
        read_prediction(image.prediction)[0],
        None if valid.all() else valid,
        title,
        find_spacing(image.prediction, image.true),
    )


def draw_errors(predictions: Mapping[str, Row], true: Row, title: str) -> Figure:
    """Return a figure of the errors of several predictions of one image.

    Parameters
    ----------
    predictions : mapping of str to Row
        Name to row of the prediction.
    true : Row
        Names the truth and the raw image.
    title : str

    Raises
    ------
    ImageError
        A file that cannot be read.
    """
    truth, valid, _ = read_truth(true)
    return comparison_figure(
        _read_optional(true, "raw", truth.shape),
        truth,
        {name: read_prediction(row)[0] for name, row in predictions.items()},
        None if valid.all() else valid,
        title,
        find_spacing(list(predictions.values())[-1], true),
    )


def draw_classes(
    predictions: Mapping[str, Row],
    true: Row,
    names: tuple[str, ...],
    title: str,
    row: Row | Mapping[str, Any],
) -> Figure:
    """Return a figure of the classes of one image, and the errors of each prediction.

    Parameters
    ----------
    predictions : mapping of str to Row
        Name to row of the prediction.
    true : Row
    names : tuple of str
        Classes.
    title : str
    row : mapping
        Names the raw image.

    Raises
    ------
    ImageError
        A file that cannot be read.
    """
    truth, valid = read_target(true, classes=True)
    return class_figure(
        _read_optional(row, "raw", truth.shape),
        truth,
        {name: read_class_image(one) for name, one in predictions.items()},
        names,
        None if valid.all() else valid,
        title,
        find_spacing(next(iter(predictions.values())), true),
    )


def _read_optional(
    row: Row | Mapping[str, Any], column: str, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Return the first channel of an image of the row, None with a warning where unusable."""
    if not row[column]:
        return None
    try:
        source = row if isinstance(row, Row) else Row({k: str(v) for k, v in row.items()})
        data = read_raw(source).data[0] if column == "raw" else read_map(source, column)
    except (CytoloopError, ValueError) as error:
        log.warning("%s: figure without %s: %s", row["id"], column, error)
        return None
    if data.shape != shape:
        log.warning(
            "%s: figure without %s: shape %s, but the truth is %s",
            *(row["id"], column, data.shape, shape),
        )
        return None
    return data
