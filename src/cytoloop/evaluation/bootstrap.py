"""How much scores would vary with other images: the bootstrap (Efron and Tibshirani 1993).

What is drawn again and again, with replacement, are independent units: groups where there are
several, since images of one embryo or slide resemble each other, else images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95
AT_A_TIME = 2**20
"""Images times resamples that are drawn at a time, whatever their number: some ten MiB."""


def units_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Return the independent unit of each image, and what units are: ``group`` or ``image``.

    Groups count where there are two or more and any of them has several images. An image
    without a group is a unit of its own.
    """
    sizes = Counter(str(row["group"]) for row in rows if row["group"])
    if len(sizes) < 2 or max(sizes.values()) < 2:
        return [f"image {row['id']}" for row in rows], "image"
    names = [f"group {row['group']}" if row["group"] else f"image {row['id']}" for row in rows]
    return names, "group"


def draw_weights(units: Sequence[str], resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each image is drawn, some resamples at a time.

    Parameters
    ----------
    units : sequence of str
        (N,) unit of each image.
    resamples, seed : int

    Yields
    ------
    ndarray of float
        (b, N); all b add up to `resamples`. However many are made at a time, they are the same.
    """
    names, place = np.unique(np.asarray(units), return_inverse=True)
    chances = np.full(len(names), 1 / len(names))
    rng = np.random.default_rng(seed)
    most = max(AT_A_TIME // len(units), 1)
    for start in range(0, resamples, most):
        drawn = rng.multinomial(len(names), chances, size=min(most, resamples - start))
        yield drawn[:, place].astype(float)


def resample_sums(
    values: np.ndarray, units: Sequence[str], resamples: int, seed: int
) -> np.ndarray:
    """Return sums of values over the images of each resample.

    Parameters
    ----------
    values : ndarray of float
        (N, S).
    units, resamples, seed
        See `draw_weights`.

    Returns
    -------
    ndarray of float
        (B, S) for B resamples.
    """
    sums = [weights @ values for weights in draw_weights(units, resamples, seed)]
    return np.concatenate([np.empty((0, values.shape[1])), *sums])


def resample_means(
    values: np.ndarray, units: Sequence[str], resamples: int, seed: int
) -> np.ndarray:
    """Return means over the images of each resample that leave out undefined values.

    Parameters
    ----------
    values : ndarray of float
        (N, S), NaN where undefined.
    units, resamples, seed
        See `draw_weights`.

    Returns
    -------
    ndarray of float
        (B, S), NaN where all that was drawn is undefined.
    """
    known = ~np.isnan(values)
    both = np.hstack([np.where(known, values, 0), known])
    sums, counts = np.split(resample_sums(both, units, resamples, seed), 2, axis=1)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def interval(samples: np.ndarray) -> list[float] | None:
    """Return the percentile interval [low, high] of samples (B,), None where none is defined."""
    known = samples[~np.isnan(samples)]
    if not len(known):
        return None
    low, high = np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return [float(low), float(high)]


def p_value(samples: np.ndarray) -> float:
    """Return the two-sided p-value of "no difference" from resampled differences (B,).

    Twice the smaller share of samples on either side of 0 (those at 0 belong to both), at most
    1; one is added to counts and number, so that it is never 0 (Davison and Hinkley 1997).
    """
    known = samples[~np.isnan(samples)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))
