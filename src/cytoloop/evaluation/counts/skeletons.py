"""Counts behind the scores of thin structures: skeletons of masks, their branches and gaps.

A skeleton is the centreline of a mask, one voxel wide (`skimage.morphology.skeletonize`; in 3D
the thinning of Lee et al. 1994, which keeps closed shells as surfaces). Lengths are counted in
voxels of the skeleton, so that they depend on the voxel grid.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

COUNTS = (
    "skeleton_true",
    "skeleton_true_found",
    "skeleton_predicted",
    "skeleton_predicted_right",
    "branches_true",
    "branches_predicted",
    "gaps",
)
_MIN_ELONGATION = 8.0
"""A piece is thin if its skeleton is this many times as long as the mean width of the mask."""


def count_skeletons(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None = None
) -> dict[str, int]:
    """Compare the skeletons of two masks; all counts are 0 unless the true mask is thin.

    Parameters
    ----------
    truth, prediction : ndarray
        ([Z,] Y, X), same shape; above 0 is foreground.
    valid : ndarray of bool, optional
        Same shape; False = excluded. Skeletons are made of the whole masks, and count outside the
        excluded region.

    Returns
    -------
    dict of str to int
        `COUNTS`. Voxels of the true skeleton, those inside the predicted mask, voxels of the
        predicted skeleton, those inside the true mask; branch points of both skeletons; gaps: the
        pieces of the true skeleton outside the predicted mask that interrupt a found line.

    Notes
    -----
    Shit et al. 2021 (clDice). A branch point is a group of touching skeleton voxels with three or
    more neighbours each. A gap touches the found skeleton in two places or more; a missed end
    touches it in one, a missed structure in none.
    """
    counts = dict.fromkeys(COUNTS, 0)
    true, predicted = truth > 0, prediction > 0
    true_skeleton = _skeleton(true)
    if not is_thin(true, true_skeleton):
        return counts
    predicted_skeleton = _skeleton(predicted)
    counts["branches_true"] = _count_branches(true_skeleton, valid)
    counts["branches_predicted"] = _count_branches(predicted_skeleton, valid)
    if valid is not None:
        true_skeleton = true_skeleton & valid
        predicted_skeleton = predicted_skeleton & valid
    found = true_skeleton & predicted
    counts["skeleton_true"] = int(np.count_nonzero(true_skeleton))
    counts["skeleton_true_found"] = int(np.count_nonzero(found))
    counts["skeleton_predicted"] = int(np.count_nonzero(predicted_skeleton))
    counts["skeleton_predicted_right"] = int(np.count_nonzero(predicted_skeleton & true))
    counts["gaps"] = _count_gaps(true_skeleton & ~predicted, found)
    return counts


def _skeleton(mask: np.ndarray) -> np.ndarray:
    from skimage.morphology import skeletonize  # slow to import

    return np.asarray(skeletonize(mask), bool)


def is_thin(mask: np.ndarray, skeleton: np.ndarray | None = None) -> bool:
    """Return whether most of a mask ([Z,] Y, X) is lines.

    The skeleton is computed where it is not given. The mean width is that of a line (2D) or a
    square rod (3D) with the skeleton's length and the mask's voxels. Long are pieces of the
    skeleton with `_MIN_ELONGATION` times that length.
    """
    skeleton = _skeleton(mask) if skeleton is None else skeleton
    length = np.count_nonzero(skeleton)
    if not length:
        return False
    width = (np.count_nonzero(mask) / length) ** (1 / (mask.ndim - 1))
    pieces, _ = ndimage.label(skeleton, _neighbours(mask.ndim))
    lengths = np.bincount(pieces[skeleton])
    return bool(lengths[lengths >= _MIN_ELONGATION * width].sum() >= length / 2)


def _count_branches(skeleton: np.ndarray, valid: np.ndarray | None) -> int:
    """Return the number of branch points outside the excluded region."""
    neighbours = _neighbours(skeleton.ndim)
    around = ndimage.convolve(
        skeleton.astype(np.uint8), neighbours.astype(np.uint8), mode="constant"
    )
    points = skeleton & (around > 3)  # a voxel counts itself
    if valid is not None:
        points &= valid
    return int(ndimage.label(points, neighbours)[1])


def _count_gaps(missed: np.ndarray, found: np.ndarray) -> int:
    """Return the number of missed pieces of a skeleton that touch found ones in two places."""
    neighbours = _neighbours(missed.ndim)
    pieces, _ = ndimage.label(missed, neighbours)
    gaps = 0
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        wide = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        touched = ndimage.binary_dilation(pieces[wide] == number, neighbours) & found[wide]
        gaps += int(ndimage.label(touched, neighbours)[1] >= 2)
    return gaps


def _neighbours(ndim: int) -> np.ndarray:
    """Return the voxels that touch one by a face, an edge or a corner, and itself."""
    return np.ones((3,) * ndim, bool)
