"""Objects from skeletons and offsets: the form in which CytoDL's instance models predict.

A network predicts foreground, the skeleton of each object, and for each voxel the offset to the
nearest point of its own skeleton. Touching objects are parted by the skeleton that each voxel
points to. The rule is that of `InstanceSegCluster` of CytoDL 0.6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.segmentation import find_boundaries, relabel_sequential

Region = tuple[slice, ...]


@dataclass(frozen=True)
class SkeletonRule:
    """How skeletons and offsets become objects.

    Attributes
    ----------
    anisotropy : float
        Unit of the offsets along Z, in those along Y and X; without effect in 2D.
    skeleton_threshold : float
        Logit above which a voxel belongs to a skeleton.
    min_size : float
        Smallest skeleton that does not touch the border of its region, see
        `_without_small_skeletons`.
    max_distance : float
        A voxel that points farther away from every skeleton, in voxels, is background.
    """

    anisotropy: float = 2.6
    skeleton_threshold: float = 0.0
    min_size: float = 1000.0
    max_distance: float = 100.0


def label_by_skeletons(
    foreground: np.ndarray, skeleton: np.ndarray, offsets: np.ndarray, rule: SkeletonRule
) -> np.ndarray:
    """Return the objects of an image.

    A connected region of foreground without a skeleton is removed, a region with one skeleton is
    one object, and the voxels of others get the object of the skeleton that they point to.

    Parameters
    ----------
    foreground : ndarray of bool
        ([Z,] Y, X).
    skeleton : ndarray of float32
        ([Z,] Y, X): logits.
    offsets : ndarray of float32
        (D, [Z,] Y, X): Y and X in voxels, Z in units of 1 / `anisotropy` voxels.
    rule : SkeletonRule

    Returns
    -------
    ndarray of int32
        ([Z,] Y, X): 1..N, 0 = background.
    """
    regions, _ = ndimage.label(foreground)
    labels = np.zeros(foreground.shape, np.int32)
    count = 0
    for number, found in enumerate(ndimage.find_objects(regions), start=1):
        box = _padded(found, foreground.shape)
        inside = regions[box] == number
        objects = _split_region(inside, skeleton[box], offsets[(slice(None), *box)], rule)
        labels[box][objects > 0] = objects[objects > 0] + count
        count += int(objects.max(initial=0))
    return labels


def _split_region(
    inside: np.ndarray, skeleton: np.ndarray, offsets: np.ndarray, rule: SkeletonRule
) -> np.ndarray:
    """Return the objects 1..N of a connected region; parameters as in `label_by_skeletons`."""
    skeletons, _ = ndimage.label(inside & (skeleton > rule.skeleton_threshold))
    skeletons = _without_small_skeletons(skeletons, rule.min_size)
    count = len(np.unique(skeletons)) - 1
    if count <= 1:
        return inside.astype(np.int32) * count
    others = inside & (skeletons == 0)
    units = (rule.anisotropy, 1.0, 1.0)[-inside.ndim :]
    targets = []
    for axis, (unit, length) in enumerate(zip(units, inside.shape, strict=True)):
        # CytoDL spreads the coordinates of a region evenly from 0 to length * unit - 1
        along = np.linspace(0, length * unit - 1, length)[np.nonzero(others)[axis]]
        reached = (offsets[axis][others] + along) / unit
        targets.append(np.clip(reached, 0, length - 1).round())
    edge = find_boundaries(skeletons, mode="inner") & (skeletons > 0)
    points = np.argwhere(edge)
    distance, nearest = KDTree(points).query(np.stack(targets, axis=1))
    chosen = skeletons[tuple(points[nearest].T)]
    chosen[distance > rule.max_distance] = 0
    skeletons[others] = chosen
    return relabel_sequential(skeletons)[0].astype(np.int32)


def _without_small_skeletons(skeletons: np.ndarray, min_size: float) -> np.ndarray:
    """Return skeletons without the small ones, except those at the border of the region.

    The size is the sum of the numbers in the bounding box, as CytoDL computes it. A count of
    voxels would remove skeletons that CytoDL keeps.
    """
    kept = skeletons.copy()
    for number, box in enumerate(ndimage.find_objects(skeletons), start=1):
        at_border = any(
            side.start == 0 or side.stop >= length
            for side, length in zip(box, skeletons.shape, strict=True)
        )
        if not at_border and skeletons[box].sum() < min_size:
            kept[box][skeletons[box] == number] = 0
    return kept


def _padded(box: Region, shape: Sequence[int]) -> Region:
    """Return a box that is larger by one voxel on each side, inside the image."""
    return tuple(
        slice(max(side.start - 1, 0), min(side.stop + 1, length))
        for side, length in zip(box, shape, strict=True)
    )
