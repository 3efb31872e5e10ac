"""Thresholds of probability maps: a number, or one of scikit-image's automatic methods.

The automatic methods work on a histogram. It is summed over blocks, for images of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.instances.blocks import Blocks, Volume
from cytoloop.instances.distance_map import full_scale

AUTOMATIC = ("otsu", "li", "yen", "isodata", "triangle", "minimum", "mean")
"""scikit-image's global threshold methods."""
OTSU_PLAIN = "otsu_plain"
"""Otsu's method without bounds and checks."""
THRESHOLD_METHODS = (*AUTOMATIC, OTSU_PLAIN)
LOWEST, HIGHEST = 0.1, 0.9
"""Thresholds of `AUTOMATIC` are clipped to this range of probability."""
BINS = 256
_SAMPLE = 200_000
"""Voxels that a method gets if it takes an image instead of a histogram."""
_LIKELY_FRACTION = 0.1
"""An automatic threshold is used if at least this fraction of the voxels above it is likely."""


def histogram(probability: Volume, blocks: Blocks) -> np.ndarray:
    """Return the number of voxels at each of 256 levels of probability, (256,) int64."""
    counts = np.zeros(BINS, np.int64)
    for box in blocks:
        values = np.asarray(probability[box])
        if values.dtype != np.uint8:
            scaled = np.nan_to_num(values.astype(np.float32)) / full_scale(values.dtype)
            values = np.rint(np.clip(scaled, 0, 1) * (BINS - 1)).astype(np.uint8)
        counts += np.bincount(values.ravel(), minlength=BINS)
    return counts


def choose_threshold(method: float | str, counts: np.ndarray, likely: float = 0.5) -> float:
    """Return the probability above which a voxel is foreground.

    An automatic method splits every histogram in two, also that of pure background. Two checks
    against `likely` prevent objects in the background: if no voxel reaches it, the threshold is 1;
    if fewer than 10 % of the voxels above the automatic threshold reach it, it is the threshold.

    Parameters
    ----------
    method : float or str
        The threshold itself, or one of `THRESHOLD_METHODS`.
    counts : ndarray of int64
        See `histogram`.
    likely : float
        Probability from which a voxel is likely foreground.

    Returns
    -------
    float
        An automatic threshold is 0.1 to 0.9, or 1 if nothing is foreground; ``otsu_plain`` is 0
        to 1.

    Raises
    ------
    ConfigError
        Unknown method.
    """
    if not isinstance(method, str):
        return float(method)
    if method not in THRESHOLD_METHODS:
        raise ConfigError(
            "postprocess.threshold",
            f"{method!r} is unknown",
            f"Give a probability from 0 to 1, 'tuned', or one of {', '.join(THRESHOLD_METHODS)}.",
        )
    levels = np.flatnonzero(counts)
    if method == OTSU_PLAIN and len(levels) > 1:
        return _automatic("otsu", counts) / (BINS - 1)
    if not len(levels) or levels[-1] / (BINS - 1) < likely:
        return 1.0
    if len(levels) == 1:
        return 0.5  # a single level: all voxels are foreground, or none
    chosen = float(np.clip(_automatic(method, counts) / (BINS - 1), LOWEST, HIGHEST))
    probability = np.arange(BINS) / (BINS - 1)
    above = counts[probability > chosen].sum()
    likely_above = counts[probability >= max(likely, chosen)].sum()
    return chosen if likely_above >= _LIKELY_FRACTION * above else likely


def _automatic(method: str, counts: np.ndarray) -> float:
    """Return the threshold of scikit-image's method, 0..255."""
    from skimage import filters

    functions: Mapping[str, Callable[..., float]] = {
        name: getattr(filters, f"threshold_{name}") for name in AUTOMATIC
    }
    bins = np.arange(BINS)
    if method in ("otsu", "yen", "isodata", "minimum"):
        try:
            return float(functions[method](hist=(counts, bins)))
        except RuntimeError:  # `minimum`: the histogram has fewer than two peaks
            return float(functions["otsu"](hist=(counts, bins)))
    # The other methods take pixels: repeat each level in proportion to its count.
    repeats = np.ceil(counts * min(_SAMPLE / counts.sum(), 1.0)).astype(np.int64)
    return float(functions[method](np.repeat(bins, repeats).astype(np.uint8)))
