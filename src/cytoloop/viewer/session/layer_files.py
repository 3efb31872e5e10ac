"""Layers as files to predict, and the progress of a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cytoloop.inference.results.predictions_csv import JOURNAL, TABLE
from cytoloop.io.names import safe_name
from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import read_table

LAYER = "layer: "
"""What the name of a layer begins with in the field of images."""


def save_layer(folder: Path, name: str, data: np.ndarray, spacing_um: Spacing | None) -> Path:
    """Write a layer ([Z,] Y, X) as an image to predict; return its path."""
    path = folder / "layers" / f"{safe_name(name)}.ome.tif"
    write_image(path, np.asarray(data), "ZYX"[-data.ndim :], spacing_um)
    return path


def predicted_count(folder: Path) -> tuple[int, int]:
    """Return how many of how many images a prediction has finished; (0, 0) before it starts."""
    table = folder / TABLE
    if not table.is_file():
        return 0, 0
    rows = read_table(table)[2]
    done = {row["id"] for row in rows if row.get("status") in ("done", "failed")}
    journal = folder / JOURNAL
    lines = journal.read_bytes().count(b"\n") if journal.is_file() else 0
    return max(len(done), min(lines, len(rows))), len(rows)
