"""Grey levels: the same rule brings every image to the network, in training and prediction.

The rule travels in the checkpoint as plain values, its statistics are taken from each image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError

METHODS = ("percentile", "zscore", "minmax", "range", "none")
DEFAULT_LOWER, DEFAULT_UPPER = 1.0, 99.8
"""Percentiles of a rule that names none."""
MAX_SAMPLE_VOXELS = 2_000_000
"""Voxels that statistics are taken from: more cost time and change nothing."""
IntensityStats = tuple[np.ndarray, np.ndarray]
"""Offset and scale of each channel."""


def rule_problems(rule: Mapping[str, Any], later: Any = None) -> list[tuple[str, str]]:
    """Return the keys of a rule that can work on no image, each with what is wrong.

    Parameters
    ----------
    rule : mapping
        See `intensity_statistics`.
    later : object, optional
        Stands for a number that is not known yet.

    Returns
    -------
    list of (str, str)
        Key and fault; empty for a rule that works.
    """
    method = rule.get("method", "percentile")
    if method not in METHODS:
        return [("method", f"is {method!r}, expected {', '.join(METHODS)}")]
    if method == "percentile":
        values = {
            "lower": rule.get("lower", DEFAULT_LOWER),
            "upper": rule.get("upper", DEFAULT_UPPER),
        }
        least, most, expected = 0.0, 100.0, "a number, 0 to 100 (percent)"
    elif method == "range":
        values = {"minimum": rule.get("minimum"), "maximum": rule.get("maximum")}
        most = float(np.finfo(np.float32).max)
        least, expected = -most, "a number (a grey level)"
    else:
        return []
    known = {key: value for key, value in values.items() if later is None or value != later}
    faults = [
        (key, f"is {value!r}, expected {expected}")
        for key, value in known.items()
        if isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not least <= value <= most
    ]
    if not faults and len(known) == 2:
        (low, first), (high, second) = known.items()
        if not first < second:
            faults.append((high, f"is {second:.10g}, not above {low}={first:.10g}"))
    return faults


def check_rule(rule: Mapping[str, Any]) -> None:
    """Refuse a rule that can work on no image.

    Raises
    ------
    ConfigError
        Every fault, see `rule_problems`.
    """
    faults = [(f"normalization.{key}", fault) for key, fault in rule_problems(rule)]
    if faults:
        where, what = faults[0] if len(faults) == 1 else ("settings", [" ".join(f) for f in faults])
        raise ConfigError(where, what, "See docs/data.md, `Grey levels`.")


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
        See `check_rule`.
    """
    check_rule(rule)
    method = rule.get("method", "percentile")
    flat = image.reshape(len(image), -1)
    if flat.shape[1] > MAX_SAMPLE_VOXELS:
        flat = flat[:, :: flat.shape[1] // MAX_SAMPLE_VOXELS + 1]
    flat = flat.astype(np.float32)
    if method == "none":
        low, high = np.zeros(len(flat)), np.ones(len(flat))
    elif method == "range":
        low = np.full(len(flat), float(rule["minimum"]))
        high = np.full(len(flat), float(rule["maximum"]))
    elif method == "minmax":
        low, high = np.nanmin(flat, axis=1), np.nanmax(flat, axis=1)
    elif method == "zscore":
        low = np.nanmean(flat, axis=1)
        high = low + np.nanstd(flat, axis=1)
    else:
        lower, upper = rule.get("lower", DEFAULT_LOWER), rule.get("upper", DEFAULT_UPPER)
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
