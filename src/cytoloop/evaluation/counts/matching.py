"""Instance scores: which predicted object is which true one, and what went wrong.

Only pairs that overlap are ever looked at, so 2 000 objects cost no 4 000 000 comparisons.

The rules
- An object counts where at least half of it lies outside the excluded region; what lies inside
  is cut away from both sides before anything is compared. What is left of a true object that
  does not count is cut away too: who predicts its rim is not wrong.
- A pair matches at a threshold t where IoU >= t. Of all one-to-one assignments the one with the
  most matches (then the largest sum of IoU) is taken, as `stardist.matching` does.
- A merge is a predicted object that covers more than half of each of two or more true objects;
  a split is a true object in which two or more predicted objects lie with more than half of
  themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import fastremap
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cytoloop.errors import ConfigError, ImageError

_PART = 1 << 20

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True)
class Overlaps:
    """Objects of both sides and the pairs of them that share voxels.

    Attributes
    ----------
    true_ids, predicted_ids : ndarray of int
        Labels of the objects that count, in the order in which they first appear.
    true_sizes, predicted_sizes : ndarray of int
        Their voxels outside the excluded region.
    pairs : ndarray of int
        (N, 2): places in `true_ids` and in `predicted_ids`.
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
        """(N,) bool: the predicted object covers more than half of the true one."""
        return self.shared > 0.5 * self.true_sizes[self.pairs[:, 0]]

    @property
    def lies_in_true(self) -> np.ndarray:
        """(N,) bool: more than half of the predicted object lies in the true one."""
        return self.shared > 0.5 * self.predicted_sizes[self.pairs[:, 1]]

    @property
    def merging(self) -> np.ndarray:
        """(N,) bool: pairs of a predicted object that covers two or more true ones."""
        predicted = self.pairs[:, 1]
        count = np.bincount(predicted[self.covers_true], minlength=len(self.predicted_ids))
        return self.covers_true & (count[predicted] >= 2)

    @property
    def splitting(self) -> np.ndarray:
        """(N,) bool: pairs of a true object in which two or more predicted ones lie."""
        true = self.pairs[:, 0]
        count = np.bincount(true[self.lies_in_true], minlength=len(self.true_ids))
        return self.lies_in_true & (count[true] >= 2)


@dataclass(frozen=True)
class Matching:
    """What the overlaps come to.

    Attributes
    ----------
    overlaps : Overlaps
    matched : dict of float to ndarray
        Threshold to places in `overlaps.pairs` of the pairs that match.
    seg_sum : float
        Sum of the Cell Tracking Challenge's SEG over true objects.
    merges, splits, missed, spurious : int
        Missed and spurious objects overlap no object of the other side by half of themselves.
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
    """Count the voxels that objects share; labels need not be contiguous.

    Parameters
    ----------
    truth, prediction : ndarray of whole numbers
        ([Z,] Y, X), same shape, 0 = background.
    valid : ndarray of bool, optional
        Same shape; False = excluded.

    Raises
    ------
    ImageError
        Shapes that differ, or values that are no labels; all of it at once.
    """
    _check(truth=truth, prediction=prediction, valid=valid)
    counted = np.ones(truth.size, bool) if valid is None else np.asarray(valid, bool).ravel()
    true_ids, true, true_sizes, true_kept = _objects(truth, counted)
    if valid is not None:
        dropped = ~true_kept & (true_ids > 0)
        counted = counted & ~dropped[true]
    predicted_ids, predicted, predicted_sizes, predicted_kept = _objects(prediction, counted)
    met = counted & true_kept[true] & predicted_kept[predicted]
    # one number a pair; only voxels of two objects are sorted, a small part of an image
    codes = true[met].astype(np.int64) * len(predicted_ids) + predicted[met]
    pairs, shared = np.unique(codes, return_counts=True)
    places = np.cumsum(true_kept) - 1, np.cumsum(predicted_kept) - 1
    rows, columns = np.divmod(pairs, len(predicted_ids))
    return Overlaps(
        true_ids=true_ids[true_kept],
        predicted_ids=predicted_ids[predicted_kept],
        true_sizes=true_sizes[true_kept],
        predicted_sizes=predicted_sizes[predicted_kept],
        pairs=np.stack([places[0][rows], places[1][columns]], axis=1),
        shared=shared,
    )


def _objects(
    labels: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ids (0 first), each voxel's place in them, sizes inside, and which objects count."""
    flat = plain_labels(labels).ravel()
    places, names = fastremap.renumber(flat, preserve_zero=True)
    ids = np.zeros(len(names) + (0 not in names), flat.dtype)
    for name, place in names.items():
        ids[int(place)] = name
    whole = _count(places, len(ids))
    inside = whole if counted.all() else _count(places[counted], len(ids))
    return ids, places, inside, (ids > 0) & (2 * inside >= whole)


def _count(places: np.ndarray, length: int) -> np.ndarray:
    """Return how often each place occurs; in parts, as NumPy makes eight bytes of each voxel."""
    counts = np.zeros(length, np.int64)
    for start in range(0, len(places), _PART):
        counts += np.bincount(places[start : start + _PART], minlength=length)
    return counts


def plain_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels as fastremap takes them: neither bool nor in another machine's byte order."""
    plain = np.uint8 if labels.dtype == bool else labels.dtype.newbyteorder("=")
    return np.ascontiguousarray(labels, dtype=plain)


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
        raise ImageError("scores", problems, "Give label images of one picture, 0 = background.")


def match_instances(
    truth: np.ndarray,
    prediction: np.ndarray,
    valid: np.ndarray | None = None,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> Matching:
    """Match the objects of two label images.

    Parameters
    ----------
    truth, prediction, valid
        See `find_overlaps`.
    thresholds : tuple of float
        Of the IoU, each above 0 and up to 1.

    Raises
    ------
    ConfigError
        Another threshold.
    ImageError
        See `find_overlaps`.
    """
    wrong = [f"{t:g}" for t in thresholds if not 0 < t <= 1]
    if wrong:
        raise ConfigError("thresholds", ", ".join(wrong), "Expected IoU above 0, up to 1.")
    found = find_overlaps(truth, prediction, valid)
    true, predicted = found.pairs.T
    near = found.covers_true | found.lies_in_true
    return Matching(
        overlaps=found,
        matched={t: _assign(found, t) for t in thresholds},
        # at most one predicted object covers more than half of a true one
        seg_sum=float(found.iou[found.covers_true].sum()),
        merges=len(np.unique(predicted[found.merging])),
        splits=len(np.unique(true[found.splitting])),
        missed=len(found.true_ids) - len(np.unique(true[near])),
        spurious=len(found.predicted_ids) - len(np.unique(predicted[near])),
    )


def _assign(found: Overlaps, threshold: float) -> np.ndarray:
    """Return the places of the pairs that match at a threshold, one to one."""
    good = np.flatnonzero(found.iou >= threshold)
    if threshold > 0.5 or not len(good):
        return good  # above 0.5 an object has one partner at most
    n_true, n_predicted = len(found.true_ids), len(found.predicted_ids)
    true, predicted = found.pairs[good].T
    links = coo_matrix(
        (np.ones(len(good)), (true, n_true + predicted)), shape=(n_true + n_predicted,) * 2
    )
    group = connected_components(links, directed=False)[1][true]
    chosen = []
    for one in np.unique(group):
        places = good[group == one]
        rows, row = np.unique(found.pairs[places, 0], return_inverse=True)
        columns, column = np.unique(found.pairs[places, 1], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        index = np.full(gain.shape, -1)
        gain[row, column] = 1 + found.iou[places] / (len(places) + 1)  # matches first, then IoU
        index[row, column] = places
        best = index[linear_sum_assignment(gain, maximize=True)]
        chosen.append(best[best >= 0])
    return np.concatenate(chosen)
