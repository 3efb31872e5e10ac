"""Folders that CytoLoop wrote: each stands for the table in it."""

from __future__ import annotations

import logging
from pathlib import Path

from cytoloop.home import expand_home
from cytoloop.io.readers.formats import IMAGE_SUFFIXES
from cytoloop.urls import is_remote

log = logging.getLogger(__name__)

PREDICTIONS_TABLE = "predictions.csv"
"""What `cytoloop predict` and `cytoloop classic` write."""
STEPS_SHEET, SWEEP_SHEET = "steps.png", "sweep.png"
"""Pictures that `cytoloop classic` draws: no results."""
_LABELS = "labels"
_TABLES = (PREDICTIONS_TABLE, "dataset.csv")


def table_in(source: str | Path) -> str | Path:
    """Return the table in a folder that CytoLoop wrote; any other source as it is.

    A folder with images beside the table stands for these images: the table may be of another
    program.
    """
    if is_remote(source):
        return source
    folder = expand_home(source)
    table = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if table is None:
        return source
    others = {one.name.lower() for one in folder.iterdir()} - {STEPS_SHEET, SWEEP_SHEET}
    if any(name.endswith(IMAGE_SUFFIXES) for name in others):
        return source
    log.info("%s: its table %s is read", source, table.name)
    return table


def labels_in(source: str) -> str:
    """Return the folder of labels in a folder of predictions; any other source as it is."""
    folder = expand_home(source)
    if not (folder / PREDICTIONS_TABLE).is_file() or not (folder / _LABELS).is_dir():
        return source
    log.info("%s: its labels are read", source)
    return str(folder / _LABELS)
