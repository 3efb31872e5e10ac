"""The learning curve of a study: score against number of training images, and its forecast.

The error falls as a power law of the number of images n (Hestness et al. 2017, arXiv 1712.00409;
Figueroa et al. 2012): score(n) = best - loss * n^(-rate), with best at most 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from cytoloop.evaluation.bootstrap import draw_weights, interval
from cytoloop.evaluation.metrics import HIGHER, METRICS
from cytoloop.studies.tables import StudyScores

_BOUNDS = ([0.0, 0.0, 0.01], [1.0, 10.0, 3.0])
"""Bounds of best, loss and rate."""
_RESAMPLES = 400
MORE_IMAGES = 10


@dataclass(frozen=True)
class LearningCurve:
    """Score against number of training images.

    Attributes
    ----------
    factor : str
        The factor whose levels are numbers of images.
    sizes : ndarray of int
        (S,) number of training images.
    means : ndarray of float
        (S,) mean score.
    best, loss, rate : float
        The fitted power law.
    at : ndarray of float
        (P,) numbers of images, up to four times the largest.
    band : ndarray of float
        (P, 2) 95 % interval of the fit.
    gain : float
        What `MORE_IMAGES` images more than the largest number bring, by the power law.
    gain_interval : list of float or None
    """

    factor: str
    sizes: np.ndarray
    means: np.ndarray
    best: float
    loss: float
    rate: float
    at: np.ndarray
    band: np.ndarray
    gain: float
    gain_interval: list[float] | None


def power_law(images: np.ndarray, best: float, loss: float, rate: float) -> np.ndarray:
    """Return the score at each number of images."""
    return best - loss * np.asarray(images, float) ** -rate


def learning_curves(study: StudyScores, seed: int = 0) -> list[LearningCurve]:
    """Return the curve of each factor whose levels have three or more numbers of images.

    Only scores from 0 to 1 that are better when higher have one.
    """
    if METRICS[study.score].better != HIGHER:
        return []
    found = [_learning_curve(study, factor, seed) for factor in study.factors]
    return [one for one in found if one is not None]


def _learning_curve(study: StudyScores, factor: str, seed: int) -> LearningCurve | None:
    base = {name: levels[0] for name, levels in study.factors.items() if name != factor}
    runs = [n for n, row in enumerate(study.done) if all(row[f] == b for f, b in base.items())]
    images = np.array([int(study.done[number]["train_images"]) for number in runs])
    levels = {(study.done[n][factor], int(study.done[n]["train_images"])) for n in runs}
    sizes = np.unique(images)
    if len(sizes) < 3 or len(levels) != len(sizes):  # two levels with one size differ otherwise
        return None
    values = study.values[runs]
    fitted = _fit(images, _run_means(values, np.ones(values.shape[1])))
    if fitted is None:
        return None
    at = np.geomspace(sizes.min(), 4 * sizes.max(), 60)
    now_and_more = sizes.max() + np.array([0, MORE_IMAGES])
    everywhere = np.append(at, now_and_more)
    samples = np.array(_resampled_fits(images, values, study.units, everywhere, seed))
    band = np.quantile(samples[:, :-2], (0.025, 0.975), axis=0).T
    means = np.array([np.nanmean(values[images == size]) for size in sizes])
    gain = float(np.diff(power_law(now_and_more, *fitted))[0])
    gains = samples[:, -1] - samples[:, -2]
    return LearningCurve(factor, sizes, means, *fitted, at, band, gain, interval(gains))


def _resampled_fits(
    images: np.ndarray, values: np.ndarray, units: Sequence[str], at: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Return the fits at some sizes, with runs of each size and units drawn with replacement."""
    rng = np.random.default_rng([seed, 2])
    places = [np.flatnonzero(images == size) for size in np.unique(images)]
    found = []
    for chunk in draw_weights(units, _RESAMPLES, seed):
        for weights in chunk:
            runs = np.concatenate([rng.choice(own, len(own)) for own in places])
            fitted = _fit(images[runs], _run_means(values[runs], weights))
            if fitted is not None:
                found.append(power_law(at, *fitted))
    return found


def _run_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean (R,) of values (R, N), without undefined ones."""
    known = ~np.isnan(values)
    return (np.where(known, values, 0) @ weights) / np.maximum(known @ weights, 1e-9)


def _fit(images: np.ndarray, scores: np.ndarray) -> tuple[float, float, float] | None:
    """Return best, loss and rate of the power law; None if no fit is found."""
    start = (min(max(float(scores.max()) + 0.02, 0.05), 0.999), 0.5, 0.5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # its covariance is not used
            found, _ = curve_fit(power_law, images, scores, p0=start, bounds=_BOUNDS, maxfev=2000)
    except RuntimeError:  # no convergence
        return None
    return float(found[0]), float(found[1]), float(found[2])
