"""Thresholds: a number, or scikit-image's automatic ones, from the histogram of probabilities.

A histogram is all that they need, and it adds up over the blocks of an image of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.instances.blocks import Blocks, Volume
from cytoloop.instances.distance_map import full_scale

AUTOMATIC = ("otsu", "li", "yen", "isodata", "triangle", "minimum", "mean")
"""scikit-image's threshold functions of a whole image."""
LOWEST, HIGHEST = 0.1, 0.9
"""An automatic threshold beyond these is none: probability says what it says."""
BINS = 256
_SAMPLE = 200_000
_SURE = 0.1
"""Of the voxels above an automatic threshold, so many at least are more likely than not."""


def histogram(probability: Volume, blocks: Blocks) -> np.ndarray:
    """Return how many voxels have each of 256 levels of probability, (256,) int64."""
    counts = np.zeros(BINS, np.int64)
    for box in blocks:
        values = np.asarray(probability[box])
        if values.dtype != np.uint8:
            scaled = np.nan_to_num(values.astype(np.float32)) / full_scale(values.dtype)
            values = np.rint(np.clip(scaled, 0, 1) * (BINS - 1)).astype(np.uint8)
        counts += np.bincount(values.ravel(), minlength=BINS)
    return counts


def choose_threshold(rule: float | str, counts: np.ndarray, seen: float = 0.5) -> float:
    """Return the probability above which a voxel is foreground.

    Parameters
    ----------
    rule : float or str
        The probability itself, or one of `AUTOMATIC`.
    counts : ndarray of int64
        See `histogram`.
    seen : float
        An automatic threshold parts any image in two, one of pure background as well. Where no
        voxel reaches this probability there is nothing: the threshold is 1. Where hardly any of
        those above the threshold does, it parts background from background: it is this one then.

    Returns
    -------
    float
        0.1 to 0.9 if automatic.

    Raises
    ------
    ConfigError
        Unknown method.
    """
    if not isinstance(rule, str):
        return float(rule)
    if rule not in AUTOMATIC:
        raise ConfigError(
            "postprocess.threshold",
            f"{rule!r} is unknown",
            f"Give a probability from 0 to 1, 'tuned', or one of {', '.join(AUTOMATIC)}.",
        )
    levels = np.flatnonzero(counts)
    if not len(levels) or levels[-1] / (BINS - 1) < seen:
        return 1.0
    if len(levels) == 1:
        return 0.5  # one level: either all of it is foreground, or nothing
    chosen = float(np.clip(_automatic(rule, counts) / (BINS - 1), LOWEST, HIGHEST))
    share = np.arange(BINS) / (BINS - 1)
    above, sure = counts[share > chosen].sum(), counts[share >= max(seen, chosen)].sum()
    return chosen if sure >= _SURE * above else seen


def _automatic(name: str, counts: np.ndarray) -> float:
    from skimage import filters

    functions: Mapping[str, Callable[..., float]] = {
        method: getattr(filters, f"threshold_{method}") for method in AUTOMATIC
    }
    bins = np.arange(BINS)
    if name in ("otsu", "yen", "isodata", "minimum"):
        try:
            return float(functions[name](hist=(counts, bins)))
        except RuntimeError:  # `minimum`: the histogram has no two peaks
            return float(functions["otsu"](hist=(counts, bins)))
    # the others want pixels: as many of each level as the histogram has, in proportion
    share = np.ceil(counts * min(_SAMPLE / counts.sum(), 1.0)).astype(np.int64)
    return float(functions[name](np.repeat(bins, share).astype(np.uint8)))
