"""Matching of predicted and true objects, and counts of what went wrong.

Only pairs of objects that overlap are stored: 2 000 objects need no 4 000 000 comparisons.

- An object counts where at least half of it lies outside the excluded region. The excluded part of
  both sides is cut off before objects are compared. A true object that does not count is cut off
  as a whole, so that a prediction of its visible rim is no error.
- A pair matches at a threshold t where IoU >= t. Among all one-to-one assignments, the assignment
  with the most matches, then with the largest sum of IoU, is used, as in `stardist.matching`.
- A merge is a predicted object that covers more than half of each of two or more true objects.
- A split is a true object in which two or more predicted objects lie, each with more than half of
  its voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import fastremap
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cytoloop.errors import ConfigError, ImageError

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Overlaps:
    """Objects of both sides, and the pairs of them that share voxels.

    Attributes
    ----------
    true_ids, predicted_ids : ndarray of int
        Labels of the objects that count, in the order in which they first appear.
    true_sizes, predicted_sizes : ndarray of int
        Their voxels outside the excluded region.
    pairs : ndarray of int
        (N, 2): positions in `true_ids` and in `predicted_ids`.
    shared : ndarray of int
        (N,) voxels that a pair shares.
    """

    true_ids: np.ndarray
    predicted_ids: np.ndarray
    true_sizes: np.ndarray
    predicted_sizes: np.ndarray
    pairs: np.ndarray
    shared: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """(N,) intersection over union of each pair."""
        true, predicted = self.pairs.T
        union = self.true_sizes[true] + self.predicted_sizes[predicted] - self.shared
        return self.shared / union

    @property
    def covers_true(self) -> np.ndarray:
        """(N,) bool: the predicted object covers more than half of the true object."""
        return self.shared > 0.5 * self.true_sizes[self.pairs[:, 0]]

    @property
    def lies_in_true(self) -> np.ndarray:
        """(N,) bool: more than half of the predicted object lies in the true object."""
        return self.shared > 0.5 * self.predicted_sizes[self.pairs[:, 1]]

    @property
    def merging(self) -> np.ndarray:
        """(N,) bool: pairs of a predicted object that covers two or more true objects."""
        predicted = self.pairs[:, 1]
        count = np.bincount(predicted[self.covers_true], minlength=len(self.predicted_ids))
        return self.covers_true & (count[predicted] >= 2)

    @property
    def splitting(self) -> np.ndarray:
        """(N,) bool: pairs of a true object in which two or more predicted objects lie."""
        true = self.pairs[:, 0]
        count = np.bincount(true[self.lies_in_true], minlength=len(self.true_ids))
        return self.lies_in_true & (count[true] >= 2)


@dataclass(frozen=True)
class Matching:
    """Matches and errors of the objects of one image.

    Attributes
    ----------
    overlaps : Overlaps
    matched : dict of float to ndarray
        Threshold to the positions in `overlaps.pairs` of the matches.
    seg_sum : float
        Sum over true objects of the Cell Tracking Challenge's SEG.
    merges, splits : int
        See the module.
    missed, spurious : int
        True (predicted) objects without a pair in which one object covers more than half of the
        other.
    """

    overlaps: Overlaps
    matched: dict[float, np.ndarray]
    seg_sum: float
    merges: int
    splits: int
    missed: int
    spurious: int


def find_overlaps(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None = None
) -> Overlaps:
    """Return the objects of two label images and the voxels that they share.

    Parameters
    ----------
    truth, prediction : ndarray of whole numbers
        ([Z,] Y, X), same shape, 0 = background; labels need not be contiguous.
    valid : ndarray of bool, optional
        Same shape; False = excluded.

    Raises
    ------
    ImageError
        Different shapes, fractions or negative numbers; all problems at once.
    """
    _check(truth=truth, prediction=prediction, valid=valid)
    counted = np.ones(truth.size, bool) if valid is None else np.asarray(valid, bool).ravel()
    true_ids, true, true_sizes, true_kept = _objects(truth, counted)
    if valid is not None:
        dropped = ~true_kept & (true_ids > 0)
        counted = counted & ~dropped[true]
    predicted_ids, predicted, predicted_sizes, predicted_kept = _objects(prediction, counted)
    in_both = counted & true_kept[true] & predicted_kept[predicted]
    # one code a pair; only voxels inside two objects are sorted, a small part of an image
    codes = true[in_both].astype(np.int64) * len(predicted_ids) + predicted[in_both]
    pairs, shared = np.unique(codes, return_counts=True)
    positions = np.cumsum(true_kept) - 1, np.cumsum(predicted_kept) - 1
    rows, columns = np.divmod(pairs, len(predicted_ids))
    return Overlaps(
        true_ids=true_ids[true_kept],
        predicted_ids=predicted_ids[predicted_kept],
        true_sizes=true_sizes[true_kept],
        predicted_sizes=predicted_sizes[predicted_kept],
        pairs=np.stack([positions[0][rows], positions[1][columns]], axis=1),
        shared=shared,
    )


def _objects(
    labels: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ids (0 first), each voxel's position in them, sizes inside, and which ids count."""
    flat = native_labels(labels).ravel()
    positions, position_of = fastremap.renumber(flat, preserve_zero=True)
    ids = np.zeros(len(position_of) + (0 not in position_of), flat.dtype)
    for label, position in position_of.items():
        ids[int(position)] = label
    whole = _bincount(positions, len(ids))
    inside = whole if counted.all() else _bincount(positions[counted], len(ids))
    return ids, positions, inside, (ids > 0) & (2 * inside >= whole)


def _bincount(positions: np.ndarray, length: int) -> np.ndarray:
    """Return `numpy.bincount` in chunks: NumPy converts its whole input to 8 bytes a voxel."""
    counts = np.zeros(length, np.int64)
    for start in range(0, len(positions), _CHUNK):
        counts += np.bincount(positions[start : start + _CHUNK], minlength=length)
    return counts


def native_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels as fastremap needs them: contiguous, not bool, in native byte order."""
    dtype = np.uint8 if labels.dtype == bool else labels.dtype.newbyteorder("=")
    return np.ascontiguousarray(labels, dtype=dtype)


def _check(**arrays: np.ndarray | None) -> None:
    given = {name: array for name, array in arrays.items() if array is not None}
    problems = []
    if len({array.shape for array in given.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in given.items())
        problems.append(f"shapes differ: {shapes}")
    for name in ("truth", "prediction"):
        kind = given[name].dtype.kind
        if kind not in "bui" or (kind == "i" and given[name].min(initial=0) < 0):
            found = given[name].dtype
            problems.append(f"{name} ({found}) holds fractions or negative numbers")
    if problems:
        repair = "Pass label images of the same image, 0 = background."
        raise ImageError("matching", problems, repair)


def match_instances(
    truth: np.ndarray,
    prediction: np.ndarray,
    valid: np.ndarray | None = None,
    thresholds: tuple[float, ...] = IOU_THRESHOLDS,
) -> Matching:
    """Match the objects of two label images.

    Parameters
    ----------
    truth, prediction, valid
        See `find_overlaps`.
    thresholds : tuple of float
        IoU thresholds, each above 0 and up to 1.

    Raises
    ------
    ConfigError
        A threshold out of range.
    ImageError
        See `find_overlaps`.
    """
    wrong = [f"{t:g}" for t in thresholds if not 0 < t <= 1]
    if wrong:
        raise ConfigError("thresholds", ", ".join(wrong), "Expected IoU above 0, up to 1.")
    overlaps = find_overlaps(truth, prediction, valid)
    true, predicted = overlaps.pairs.T
    close = overlaps.covers_true | overlaps.lies_in_true
    return Matching(
        overlaps=overlaps,
        matched={t: _assign(overlaps, t) for t in thresholds},
        # at most one predicted object covers more than half of a true object
        seg_sum=float(overlaps.iou[overlaps.covers_true].sum()),
        merges=len(np.unique(predicted[overlaps.merging])),
        splits=len(np.unique(true[overlaps.splitting])),
        missed=len(overlaps.true_ids) - len(np.unique(true[close])),
        spurious=len(overlaps.predicted_ids) - len(np.unique(predicted[close])),
    )


def _assign(overlaps: Overlaps, threshold: float) -> np.ndarray:
    """Return the positions of the pairs that match at a threshold, one to one."""
    iou = overlaps.iou
    candidates = np.flatnonzero(iou >= threshold)
    if threshold > 0.5 or not len(candidates):
        return candidates  # above 0.5 an object has at most one candidate
    n_true, n_predicted = len(overlaps.true_ids), len(overlaps.predicted_ids)
    true, predicted = overlaps.pairs[candidates].T
    links = coo_matrix(
        (np.ones(len(candidates)), (true, n_true + predicted)), shape=(n_true + n_predicted,) * 2
    )
    component = connected_components(links, directed=False)[1][true]
    sizes = np.bincount(component)
    alone = sizes[component] == 1  # most pairs: neither object has another candidate
    chosen = [candidates[alone]]
    order = np.flatnonzero(~alone)
    order = order[np.argsort(component[order], kind="stable")]
    for group in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
        pairs = candidates[group]
        rows, row = np.unique(overlaps.pairs[pairs, 0], return_inverse=True)
        columns, column = np.unique(overlaps.pairs[pairs, 1], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        index = np.full(gain.shape, -1)
        gain[row, column] = 1 + iou[pairs] / (len(pairs) + 1)  # matches first, then IoU
        index[row, column] = pairs
        best = index[linear_sum_assignment(gain, maximize=True)]
        chosen.append(best[best >= 0])
    return np.sort(np.concatenate(chosen))
