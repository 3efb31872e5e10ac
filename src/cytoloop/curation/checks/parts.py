"""Parts of one image: which voxels a row uses, and whether two rows use the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from cytoloop.curation.checks.result import CheckResult
from cytoloop.errors import CytoloopError
from cytoloop.io.remote import local_path
from cytoloop.manifest import Part, Row
from cytoloop.truth.regions import read_region


def are_apart(rows: tuple[Row, Row], results: tuple[CheckResult, CheckResult]) -> bool:
    """Return whether two rows of one image use different voxels with a gap between them.

    The voxels of a row are those outside its excluding mask. Without a mask it uses all.
    """
    used = []
    for row, result in zip(rows, results, strict=True):
        mask = result.masks.get("exclude_mask") or row.location("exclude_mask")
        if not mask or result.shape is None:
            return False
        try:
            used.append(~read_region(local_path(mask), result.shape, Part(plane=row.plane)))
        except (CytoloopError, OSError):
            return False  # the check of the row makes it a problem
    if used[0].shape != used[1].shape:
        return False
    boxes = [bounding_box(part) for part in used]
    sides = zip(*boxes, strict=True)
    if any(one.stop < other.start or other.stop < one.start for one, other in sides):
        return True
    from scipy.ndimage import binary_dilation

    touching = np.ones((3,) * used[0].ndim, bool)
    return not (binary_dilation(used[0], touching) & used[1]).any()


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box that holds all voxels of a mask; an empty box for an empty mask."""
    box: list[Any] = []
    for axis in range(mask.ndim):
        others = tuple(number for number in range(mask.ndim) if number != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0))
    return tuple(box)
