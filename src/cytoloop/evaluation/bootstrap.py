"""Bootstrap: how much scores would vary with other images (Efron and Tibshirani 1993).

Independent units are drawn with replacement: groups where there are several (images of one embryo
or slide resemble each other), else files (so do frames of one movie), else images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
_FILES = ("raw", "seg1", "seg2", "labels", "mask", "probability")
"""Columns of the files of an image; the first that is filled is its file."""
CHUNK = 2**20
"""Images times resamples that are drawn at a time: about 10 MiB."""


def sampling_units(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Return the independent unit of each image, and what the units are.

    Units are groups where there are two or more, and one of them has several images; this kind is
    ``group``. An image without a group belongs to its file: all rows of one scene of one file are
    a unit, whether they are frames of a movie or parts of an image. Without such groups, the kind
    is ``file`` where there are two or more files, and one of them has several images; else
    ``image``.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``metrics.csv``.
    """
    files = [_file(row) for row in rows]
    sizes = Counter(files)
    several = len(sizes) > 1 and max(sizes.values()) > 1
    names = files if several else [f"image {row['id']}" for row in rows]
    groups = Counter(str(row["group"]) for row in rows if row["group"])
    if len(groups) < 2 or max(groups.values()) < 2:
        return names, "file" if several else "image"
    own = zip(rows, names, strict=True)
    return [f"group {row['group']}" if row["group"] else name for row, name in own], "group"


def is_one_file(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether several images are all of one scene of one file."""
    return len(rows) > 1 and len({_file(row) for row in rows}) == 1


def _file(row: Mapping[str, Any]) -> str:
    """Return the file and scene of an image; its id where the row names no file."""
    named = next((f"{name} {row[name]}" for name in _FILES if row.get(name)), f"image {row['id']}")
    return f"{named} {row.get('scene') or ''}"


def draw_weights(units: Sequence[str], resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each image is drawn, for some resamples at a time.

    Parameters
    ----------
    units : sequence of str
        (N,) unit of each image.
    resamples, seed : int

    Yields
    ------
    ndarray of float
        (b, N). All b add up to `resamples`; the numbers do not depend on `CHUNK`.
    """
    names, position = np.unique(np.asarray(units), return_inverse=True)
    chances = np.full(len(names), 1 / len(names))
    rng = np.random.default_rng(seed)
    most = max(CHUNK // len(units), 1)
    for start in range(0, resamples, most):
        drawn = rng.multinomial(len(names), chances, size=min(most, resamples - start))
        yield drawn[:, position].astype(float)


def resample_sums(
    values: np.ndarray, units: Sequence[str], resamples: int, seed: int
) -> np.ndarray:
    """Return the sums of values over the images of each resample.

    Parameters
    ----------
    values : ndarray of float
        (N, S): N images, S values.
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
    """Return the means of the defined values over the images of each resample.

    Parameters
    ----------
    values : ndarray of float
        (N, S), NaN where undefined.
    units, resamples, seed
        See `draw_weights`.

    Returns
    -------
    ndarray of float
        (B, S), NaN where all drawn values are undefined.
    """
    known = ~np.isnan(values)
    both = np.hstack([np.where(known, values, 0), known])
    sums, counts = np.split(resample_sums(both, units, resamples, seed), 2, axis=1)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def interval(samples: np.ndarray) -> list[float] | None:
    """Return the percentile interval [low, high] of samples (B,), None without defined samples."""
    known = samples[~np.isnan(samples)]
    if not len(known):
        return None
    low, high = np.quantile(known, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return [float(low), float(high)]


def p_value(samples: np.ndarray) -> float:
    """Return the two-sided p-value of "no difference" from resampled differences (B,).

    It is twice the smaller fraction of samples on either side of 0, at most 1; samples at 0 count
    on both sides. Adding 1 to both counts keeps it above 0 (Davison and Hinkley 1997).
    """
    known = samples[~np.isnan(samples)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))
