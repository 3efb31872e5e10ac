"""Merging of two segmentations: one outside a region, the other inside."""

from __future__ import annotations

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.truth.regions.components import instance_labels

MERGE_RULES = ("clip", "majority")
"""How `merge_segmentations` treats objects that cross the border of the region."""
_MAX_LABEL = np.iinfo(np.uint32).max


def merge_segmentations(
    base: np.ndarray, other: np.ndarray, region: np.ndarray, rule: str = "clip"
) -> np.ndarray:
    """Return `base`, replaced by `other` inside `region`.

    Labels never collide: those of `other` are shifted beyond the largest label of `base`. If a sum
    would not fit into 32 bits, both are renumbered first.

    Parameters
    ----------
    base, other : ndarray of unsigned integers
        (Z, Y, X) or (Y, X), same shape.
    region : ndarray of bool
        Same shape.
    rule : str
        ``clip``: objects are clipped at the border of the region, as in CytoDL.
        ``majority``: an object is kept or removed as a whole, depending on where more than half of
        its voxels lie. Where kept objects overlap, `other` has the voxels inside the region and
        `base` those outside. Connected components of a binary segmentation are objects.

    Returns
    -------
    ndarray of uint32
        Same shape.

    Raises
    ------
    ConfigError
        Unknown rule.
    """
    if rule not in MERGE_RULES:
        raise ConfigError(
            "merge rule", f"{rule!r} is unknown", f"Expected {' or '.join(MERGE_RULES)}."
        )
    if rule == "majority":
        base, other = instance_labels(base), instance_labels(other)
    base, other = _distinct(base, other)
    inside = region
    if rule == "majority":
        from fastremap import mask, mask_except

        base = mask(base, _mostly_inside(base, region))
        other = mask_except(other, _mostly_inside(other, region))
        inside = (other > 0) & (region | (base == 0))
    return np.where(inside, other, base)


def _mostly_inside(labels: np.ndarray, region: np.ndarray) -> list[int]:
    """Return the labels of objects with more than half of their voxels in the region."""
    from fastremap import unique

    ids, voxels = unique(labels, return_counts=True)
    found, inside = unique(labels[region], return_counts=True)
    mostly = inside > voxels[np.searchsorted(ids, found)] - inside
    return [int(n) for n in found[mostly & (found > 0)]]


def _distinct(base: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as uint32, the labels of `other` shifted beyond those of `base`."""
    shift = int(base.max(initial=0))
    if shift + int(other.max(initial=0)) > _MAX_LABEL:
        from fastremap import renumber

        base, other = renumber(base)[0], renumber(other)[0]
        shift = int(base.max(initial=0))
    base, other = base.astype(np.uint32), other.astype(np.uint32)
    np.add(other, np.uint32(shift), out=other, where=other > 0)
    return base, other
