"""Region files that curators draw, in the folder of the data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cytoloop.io.labels import read_labels
from cytoloop.io.names import safe_name
from cytoloop.io.voxel_size import Spacing
from cytoloop.truth.regions import write_region

FOLDER = "drawn"
"""Folder of the data set for drawn regions."""
UNFINISHED = "unfinished"
"""Part of the name of a region of everything that is not marked as finished."""


def write_drawn(
    folder: Path, row_id: str, kind: str, mask: np.ndarray, spacing_um: Spacing | None
) -> str:
    """Write a mask into the data set and return its absolute path; equal masks are one file."""
    digest = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
    path = folder / FOLDER / f"{safe_name(row_id)}_{kind}_{digest[:12]}.ome.tif"
    if not path.is_file():
        write_region(path, mask, spacing_um)
    return str(path)


def is_unfinished(part: str) -> bool:
    """Return whether a region holds what is not finished."""
    return f"_{UNFINISHED}_" in Path(part).name


def unfinished_by_both(folder: Path, row_id: str, one: str, other: str) -> str:
    """Write the region that neither of two curators has finished, and return its path.

    Raises
    ------
    ImageError
        A region cannot be read.
    """
    mask = (read_labels(one) > 0) & (read_labels(other) > 0)
    return write_drawn(folder, row_id, UNFINISHED, mask, None)
