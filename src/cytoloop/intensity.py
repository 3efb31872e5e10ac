"""Grey levels: the same rule brings every image to the network, in training and prediction.

The rule travels in the checkpoint as plain values, its statistics are taken from each image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError

METHODS = ("percentile", "zscore", "minmax", "range", "none")
SAMPLE = 2_000_000
"""Voxels that statistics are taken from: more cost time and change nothing."""
Levels = tuple[np.ndarray, np.ndarray]
"""Offset and scale of each channel."""


def intensity_statistics(
    image: np.ndarray, rule: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what to subtract from, and what to divide, each channel by.

    Parameters
    ----------
    image : ndarray
        (C, Z, Y, X) or (C, Y, X), any real dtype; NaN is left out.
    rule : mapping
        ``method``: one of `METHODS`; ``percentile`` takes ``lower`` and ``upper`` in percent,
        ``range`` takes ``minimum`` and ``maximum`` in grey levels.

    Returns
    -------
    offset, scale : ndarray of float32
        One value a channel; (image - offset) / scale is the normalised image.

    Raises
    ------
    ConfigError
        Unknown method or values that cannot work.
    """
    method = str(rule.get("method", "percentile"))
    if method not in METHODS:
        raise ConfigError(
            "data.normalization.method", f"{method!r} is unknown", f"One of {', '.join(METHODS)}."
        )
    flat = image.reshape(len(image), -1)
    if flat.shape[1] > SAMPLE:
        flat = flat[:, :: flat.shape[1] // SAMPLE + 1]
    flat = flat.astype(np.float32)
    if method == "none":
        low, high = np.zeros(len(flat)), np.ones(len(flat))
    elif method == "range":
        low = np.full(len(flat), float(rule["minimum"]))
        high = np.full(len(flat), float(rule["maximum"]))
        if not (low < high).all():
            raise ConfigError(
                "data.normalization.maximum",
                f"{rule['maximum']} is not above minimum={rule['minimum']}",
                "Give the darkest and the brightest grey level.",
            )
    elif method == "minmax":
        low, high = np.nanmin(flat, axis=1), np.nanmax(flat, axis=1)
    elif method == "zscore":
        low = np.nanmean(flat, axis=1)
        high = low + np.nanstd(flat, axis=1)
    else:
        lower, upper = float(rule.get("lower", 1.0)), float(rule.get("upper", 99.8))
        if not 0 <= lower < upper <= 100:
            raise ConfigError(
                "data.normalization",
                f"lower={lower:g}, upper={upper:g}",
                "Expected 0 <= lower < upper <= 100 (percent).",
            )
        low, high = np.nanpercentile(flat, [lower, upper], axis=1)
    scale = np.where(high > low, high - low, 1.0)
    return low.astype(np.float32), scale.astype(np.float32)


def normalize(image: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the image in network units.

    Parameters
    ----------
    image : ndarray
        (C, ...), any real dtype. NaN and infinities become the offset (background).
    offset, scale : ndarray
        (C,), from `intensity_statistics`.

    Returns
    -------
    ndarray of float32
        Same shape.
    """
    spread = (-1,) + (1,) * (image.ndim - 1)
    out = np.array(image, np.float32, order="C")  # turned and mirrored views too
    out -= offset.reshape(spread)
    out /= scale.reshape(spread)
    if image.dtype.kind == "f":
        np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return out
