"""Pictures of images of classes: truth, prediction, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytoloop.evaluation.classes.evaluate import ClassEvaluation
from cytoloop.evaluation.classes.output import number, worst_first
from cytoloop.evaluation.classes.score import read_classes
from cytoloop.evaluation.figures.artists import class_colours, paint_classes
from cytoloop.evaluation.figures.image_figures import Paint, draw_views, legend
from cytoloop.evaluation.figures.overlays import read_beside
from cytoloop.evaluation.inputs.images import voxel_size
from cytoloop.io.names import safe_name
from cytoloop.io.writers.tiff import write_png
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def class_panel(
    prediction: Mapping[str, Row], true: Row, names: Sequence[str], title: str, row: Any
) -> Figure:
    """Return a figure: raw and truth, then each prediction and what of it is wrong.

    A wrong voxel has the colour of its true class; where that is background, of the predicted one.

    Parameters
    ----------
    prediction : mapping of str to Row
        Name to predicted row.
    true : Row
    names : sequence of str
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
    raw = read_beside(row, "raw", truth.shape)
    truth = np.where(valid, truth, 0)
    columns: dict[str, Paint] = {"raw": lambda axis, view: None, "truth": _painter(truth)}
    first = None
    for name, one in prediction.items():
        found = np.where(valid, read_classes(one), 0)
        first = found if first is None else first
        wrong = np.where(truth == found, 0, np.where(truth > 0, truth, found))
        columns |= {name: _painter(found), f"errors of {name}": _painter(wrong)}
    known = next(iter(prediction.values()))
    figure = draw_views(
        (truth > 0).astype(np.float32) if raw is None else raw,
        truth,
        truth if first is None else first,
        None if valid.all() else valid,
        title,
        voxel_size(known, true),
        columns,
    )
    legend(figure, list(zip(class_colours(len(names)), names, strict=True)))
    return figure


def write_class_pictures(
    evaluation: ClassEvaluation, folder: str | Path, worst: int = 8
) -> list[Path]:
    """Draw the images with the lowest Dice and return the PNG files."""
    names, written = evaluation.summary["classes"], []
    for rank, i in enumerate(worst_first(evaluation)[: max(worst, 0)], start=1):
        row, (prediction, true) = evaluation.rows[i], evaluation.pairs[i]
        title = f"{row['id']}   Dice {number(row['dice'])}"
        figure = class_panel({"prediction": prediction}, true, names, title, row)
        path = Path(folder) / f"{rank:02d}_{safe_name(str(row['id']))[:80]}.png"
        write_png(path, figure)
        written.append(path)
    return written


def _painter(classes: np.ndarray) -> Paint:
    return lambda axis, view: paint_classes(axis, view(classes))
