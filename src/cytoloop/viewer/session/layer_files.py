"""Layers as files to predict, and the progress of a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.inference.results.predictions_csv import JOURNAL, TABLE
from cytoloop.io.names import safe_name
from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import read_table

LAYER = "layer: "
"""What the name of a layer begins with in the field of images."""


_FOLDER = "layers"
_COLOURS = ("red", "green", "blue")


def save_layer(
    folder: Path, name: str, data: Any, spacing_um: Spacing | None, is_colour: bool = False
) -> Path:
    """Write a layer as an image to predict; return its path.

    Parameters
    ----------
    folder : Path
        Of the results.
    name : str
    data : array
        ([Z,] Y, X), with `is_colour` ([Z,] Y, X, C).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    is_colour : bool
        Transparency is left out.

    Raises
    ------
    ImageError
        The layer has other axes.
    """
    axes = data.ndim - is_colour
    if not 2 <= axes <= 3:
        raise ImageError(
            f"layer {name}",
            f"has {axes} axes {tuple(data.shape[:axes])}, expected Y, X or Z, Y, X",
            "Save it as a file and choose the file: predict then asks for the axes that it needs.",
        )
    path = folder / _FOLDER / f"{safe_name(name)}.ome.tif"
    pixels = np.asarray(data)
    if is_colour:
        pixels = np.moveaxis(pixels[..., :3], -1, 0)
    channels = list(_COLOURS[: len(pixels)]) if is_colour else None
    write_image(path, pixels, "C" * is_colour + "ZYX"[-axes:], spacing_um, channels)
    return path


def spacing_of(scale: Sequence[float], units: Sequence[Any]) -> Spacing | None:
    """Return the voxel size (Z, Y, X) in um that a layer states.

    A scale without a unit of length is in um, as most readers mean it; a scale of 1 is none.

    Parameters
    ----------
    scale : sequence of float
    units : sequence of pint.Unit
        One of each axis; may be empty.
    """
    is_length = any((1 * unit).check("[length]") for unit in units)
    if not is_length and all(size == 1 for size in scale):
        return None
    known = units if is_length else (None,) * len(scale)
    sizes = (float(size) * _in_um(unit) for size, unit in zip(scale, known, strict=True))
    z, y, x = (1.0, *sizes)[-3:]
    return (z, y, x)


def _in_um(unit: Any) -> float:
    """Return a unit (pint) of length in um, 1 for other units."""
    if unit is None or not (1.0 * unit).check("[length]"):
        return 1.0
    return float((1.0 * unit).to("um").magnitude)


def saved_layer(raw: Path, names: Sequence[str]) -> str | None:
    """Return which of these layers was saved as a raw image; None for other images."""
    if raw.parent.name != _FOLDER:
        return None
    return next((name for name in names if raw.name == f"{safe_name(name)}.ome.tif"), None)


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
