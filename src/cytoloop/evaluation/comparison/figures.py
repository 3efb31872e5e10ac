"""Figures of the images that changed most: the errors of both evaluations side by side."""

from __future__ import annotations

import logging
from pathlib import Path

from cytoloop.errors import CytoloopError
from cytoloop.evaluation.comparison.compare import Comparison
from cytoloop.evaluation.figures.overlays import draw_classes, draw_errors, file_name
from cytoloop.io.writers.png import write_png

log = logging.getLogger(__name__)


def write_change_overlays(
    comparison: Comparison, folder: str | Path, count: int
) -> list[tuple[str, Path]]:
    """Draw the images whose main score changed most; return their ids and PNG files.

    An image with missing or unreadable files is left out with a warning: scores do not need them.

    Parameters
    ----------
    comparison : Comparison
    folder : str or Path
    count : int
        Largest number of images to draw. Unchanged images are not drawn.
    """
    changed = [change for change in comparison.changes if change[1]]
    changed.sort(key=lambda change: -abs(change[1]))
    written = []
    for rank, (image, change) in enumerate(changed[:count], start=1):
        sides = {one.name: one.rows[image] for one in (comparison.first, comparison.second)}
        first = comparison.first.rows[image]
        title = f"{image}   {comparison.main} {change:+.3f}"
        try:
            if classes := comparison.first.classes:
                figure = draw_classes(sides, first, classes, title, first)
            else:
                figure = draw_errors(sides, first, title)
        except (CytoloopError, OSError) as error:
            log.warning("no figure of %s: %s", image, error)
            continue
        path = Path(folder) / f"{comparison.second.name}_{rank:02d}_{file_name(image)}"
        write_png(path, figure)
        written.append((image, path))
    return written
