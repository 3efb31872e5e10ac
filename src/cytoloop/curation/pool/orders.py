"""Orders of unlabelled images: by what models say of them, by how new they are, or at random."""

from __future__ import annotations

import numpy as np

DISAGREEMENT, UNCERTAINTY, DIVERSITY, MIXED, RANDOM = ORDERS = (
    *("disagreement", "uncertainty", "diversity", "mixed", "random"),
)
_TIE = 1e-9
"""Weight of the score where two images are equally new."""


def standardized(pool: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features with mean 0 and standard deviation 1 over all images.

    Unknown values (NaN) become 0, the mean. Features that do not vary become 0.

    Parameters
    ----------
    pool : ndarray of float
        (N, F).
    labelled : ndarray of float
        (M, F); M may be 0.
    """
    both = np.concatenate([pool, labelled]).astype(np.float64)
    known = np.isfinite(both)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, both, 0).sum(axis=0) / count
    centred = np.where(known, both - mean, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    scaled = centred / np.where(spread > 0, spread, 1)
    return scaled[: len(pool)], scaled[len(pool) :]


def order_images(
    order: str, scores: np.ndarray, features: np.ndarray, labelled: np.ndarray, seed: int = 0
) -> tuple[list[int], list[float]]:
    """Return the images in an order, and how new each is when its turn comes.

    An image is as new as its distance to the nearest image that is labelled or comes before it.

    - ``disagreement``, ``uncertainty``: the highest score first.
    - ``diversity``: always the newest image (greedy k-centre; Gonzalez 1985, Sener and Savarese
      2018). Without labelled images, the first is the one nearest to the mean.
    - ``mixed``: always the image with the highest product of score and newness.
    - ``random``: at random.

    Parameters
    ----------
    order : str
        One of `ORDERS`.
    scores : ndarray of float
        (N,), 0 to 1; not used by ``diversity`` and ``random``.
    features : ndarray of float
        (N, F), see `standardized`.
    labelled : ndarray of float
        (M, F); M may be 0.
    seed : int
        Of ``random``.

    Returns
    -------
    indices : list of int
        Length N.
    novelty : list of float
        Same length; infinite for the first image if none is labelled.
    """
    count = len(features)
    nearest = np.full(count, np.inf)
    for one in labelled:
        nearest = np.minimum(nearest, _distances(features, one))
    fixed = {
        RANDOM: lambda: np.random.default_rng(seed).permutation(count),
        DISAGREEMENT: lambda: np.argsort(-scores, kind="stable"),
        UNCERTAINTY: lambda: np.argsort(-scores, kind="stable"),
    }
    given = fixed[order]() if order in fixed else None
    left = np.ones(count, bool)
    indices: list[int] = []
    novelty: list[float] = []
    for turn in range(count):
        chosen = int(given[turn]) if given is not None else _best(order, nearest, scores, left)
        if given is None and not indices and not len(labelled) and order == DIVERSITY:
            chosen = int(np.argmin((features**2).sum(axis=1)))
        indices.append(chosen)
        novelty.append(float(nearest[chosen]))
        left[chosen] = False
        nearest = np.minimum(nearest, _distances(features, features[chosen]))
    return indices, novelty


def _best(order: str, nearest: np.ndarray, scores: np.ndarray, left: np.ndarray) -> int:
    """Return the image whose turn it is."""
    newness = np.where(np.isinf(nearest), 1.0, nearest)
    value = newness if order == DIVERSITY else newness * scores + _TIE * scores
    return int(np.argmax(np.where(left, value, -1.0)))


def _distances(features: np.ndarray, one: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(((features - one) ** 2).sum(axis=1)))
