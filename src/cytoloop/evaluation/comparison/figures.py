"""Pictures of the images that changed most: the errors of both side by side."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytoloop.errors import CytoloopError
from cytoloop.evaluation.classes.figures import class_panel
from cytoloop.evaluation.comparison.compare import Comparison
from cytoloop.evaluation.figures.image_figures import side_by_side
from cytoloop.evaluation.figures.overlays import read_beside
from cytoloop.evaluation.inputs.images import read_prediction, read_truth, voxel_size
from cytoloop.io.names import safe_name
from cytoloop.io.writers.tiff import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


def write_changes(one: Comparison, folder: str | Path, most: int) -> list[tuple[str, Path]]:
    """Draw the images whose main score changed most; return their ids and PNG files.

    An image whose files are no longer there is left out, which is said in the log: scores do
    not need them.

    Parameters
    ----------
    one : Comparison
    folder : str or Path
    most : int
        How many.
    """
    order = sorted(one.changes, key=lambda change: -abs(change[1]))
    written = []
    for rank, (image, change) in enumerate(order[: max(most, 0)], start=1):
        if not change:
            break
        try:
            figure = _figure(one, image, f"{image}   {one.main} {change:+.3f}")
        except (CytoloopError, OSError) as error:
            log.warning("no picture of %s: %s", image, error)
            continue
        path = Path(folder) / f"{one.second.name}_{rank:02d}_{safe_name(image)[:80]}.png"
        write_png(path, figure)
        written.append((image, path))
    return written


def _figure(one: Comparison, image: str, title: str) -> Figure:
    sides = {side.name: side.rows[image] for side in (one.first, one.second)}
    first, second = sides.values()
    if one.first.classes:
        return class_panel(sides, first, one.first.classes, title, first)
    truth, valid, _ = read_truth(first)
    raw = read_beside(first, "raw", truth.shape)
    return side_by_side(
        (truth > 0).astype(np.float32) if raw is None else raw,
        truth,
        {name: read_prediction(row) for name, row in sides.items()},
        None if valid.all() else valid,
        title,
        voxel_size(second, first),
    )
