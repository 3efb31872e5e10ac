"""The recipe for a data set: what the training labels look like decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cytoloop.evaluation.counts.skeletons import is_thin
from cytoloop.evaluation.inputs.images import is_mask
from cytoloop.manifest import Row, read_dataset
from cytoloop.training.prepare.plan.fingerprint import count_touching
from cytoloop.truth.targets import read_target

_IMAGES = 6
"""Training images that are looked at: spread over the table."""
_FILLED, _TOUCHING = 0.6, 0.5
"""Cells fill space where labels cover this fraction of the image, and this fraction touches."""
_HOLLOW = 2.0
"""A mask is a shell if its filled inside is this many times as large."""


@dataclass(frozen=True)
class Recipe:
    """A recipe, and what in the labels speaks for it.

    Attributes
    ----------
    name : str
        Value of ``experiment=``.
    reason : str
        Completes "the training labels are ...".
    """

    name: str
    reason: str


@dataclass(frozen=True)
class _Labels:
    """What the labels of an image look like."""

    dims: int
    is_mask: bool
    is_thin: bool
    is_hollow: bool
    objects: int
    touching: int
    filled: float


def choose_recipe(path: str | Path, planes: bool | str | None = None) -> Recipe | None:
    """Return the recipe for a data set, None where its training images have no labels.

    Parameters
    ----------
    path : str or Path
        See `cytoloop.manifest.read_dataset`.
    planes : bool, str or None
        Which planes of stacks are pictures.

    Raises
    ------
    CytoloopError
        The data set or its labels cannot be read.
    """
    rows = read_dataset(path, planes=planes)["train"].rows
    places = np.unique(np.linspace(0, len(rows) - 1, min(_IMAGES, len(rows))).round().astype(int))
    found = [one for one in (_look_at(rows[place]) for place in places) if one is not None]
    return _decide(found) if found else None


def _look_at(row: Row) -> _Labels | None:
    """Return what the labels of an image look like, None without any."""
    target, valid = read_target(row)
    labels = np.where(valid, target, 0)
    if not labels.any():
        return None
    mask = labels > 0
    numbers = np.unique(labels[mask])
    binary = is_mask(labels) and len(numbers) == 1
    filled = float(np.count_nonzero(mask) / np.count_nonzero(valid))
    thin = binary and is_thin(mask)
    hollow = binary and np.count_nonzero(ndimage.binary_fill_holes(mask)) > _HOLLOW * mask.sum()
    touching = 0 if binary else count_touching(labels)
    return _Labels(labels.ndim, binary, thin, bool(hollow), len(numbers), touching, filled)


def _decide(images: Sequence[_Labels]) -> Recipe:
    """Return the recipe for images that look like this."""
    dims = images[0].dims
    if all(one.is_mask for one in images):
        if dims == 3 and _most([one.is_hollow for one in images]):
            return Recipe("shells", "masks of closed shells")
        if _most([one.is_thin for one in images]):
            return Recipe("filaments", "masks of thin structures")
        return Recipe("structures", "masks")
    touching = sum(one.touching for one in images) / sum(one.objects for one in images)
    filled = float(np.mean([one.filled for one in images]))
    facts = f"{filled:.0%} of the image, {touching:.0%} touch"
    if filled > _FILLED and touching > _TOUCHING:
        return Recipe("cells", f"objects that fill space ({facts})")
    kind = "stacks" if dims == 3 else "pictures"
    return Recipe(f"nuclei_{dims}d", f"objects in {kind} ({facts})")


def _most(flags: Sequence[bool]) -> bool:
    return sum(flags) * 2 > len(flags)
