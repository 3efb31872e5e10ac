"""Normalise grey levels: one rule for training and prediction, statistics from each image.

The checkpoint stores the rule as plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.intensity.steps import MEASURED, fit_steps, steps_problems

METHODS = ("percentile", "zscore", "minmax", "range", "none")
STEPS = "steps"
"""Method of an imported model with grey-level steps that no other method has, see `fit_steps`."""
DEFAULT_LOWER, DEFAULT_UPPER = 1.0, 99.8
"""Default percentiles."""
MAX_SAMPLE_VOXELS = 2_000_000
"""Voxels per channel that statistics are computed from; more voxels do not change them."""
_EXAMPLE = "Example: {method: percentile, lower: 1, upper: 99.8}."
IntensityStats = tuple[np.ndarray, ...]
"""Offset and scale, for some rules also lowest and highest result; each (C,) float32."""


def rule_problems(rule: Mapping[str, Any], placeholder: Any = None) -> list[tuple[str, str]]:
    """Return the invalid keys of a rule, each with its problem.

    Parameters
    ----------
    rule : mapping
        See `intensity_statistics`.
    placeholder : object, optional
        Value of a number that is resolved later, for example ``"auto"``; it is not checked.

    Returns
    -------
    list of (str, str)
        Key and problem; empty for a valid rule.
    """
    method = rule.get("method", "percentile")
    if method == STEPS:
        faults = steps_problems(rule.get(STEPS), rule.get(MEASURED))
        return [(STEPS, fault) for fault in faults]
    if method not in METHODS:
        return [("method", f"is {method!r}, expected {', '.join(METHODS)}")]
    if method == "percentile":
        values = {
            "lower": rule.get("lower", DEFAULT_LOWER),
            "upper": rule.get("upper", DEFAULT_UPPER),
        }
        low, high, expected = 0.0, 100.0, "a number, 0 to 100 (percent)"
    elif method == "range":
        values = {"minimum": rule.get("minimum"), "maximum": rule.get("maximum")}
        high = float(np.finfo(np.float32).max)
        low, expected = -high, "a number (a grey level)"
    else:
        return []
    known = {
        key: value for key, value in values.items() if placeholder is None or value != placeholder
    }
    problems = [
        (key, f"is {value!r}, expected {expected}")
        for key, value in known.items()
        if isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not low <= value <= high
    ]
    if not problems and len(known) == 2:
        (key, value), (other_key, other) = known.items()
        if not value < other:
            problems.append((other_key, f"is {other:.10g}, not above {key}={value:.10g}"))
    return problems


def check_rule(rule: Mapping[str, Any]) -> None:
    """Raise an error for an invalid rule.

    Raises
    ------
    ConfigError
        Lists all problems, see `rule_problems`.
    """
    problems = [(f"normalization.{key}", problem) for key, problem in rule_problems(rule)]
    if len(problems) == 1:
        raise ConfigError(*problems[0], _EXAMPLE)
    if problems:
        lines = [f"{key} {problem}" for key, problem in problems]
        raise ConfigError("settings", lines, _EXAMPLE)


def intensity_statistics(image: np.ndarray, rule: Mapping[str, Any]) -> IntensityStats:
    """Return the offset and scale that normalise each channel: (image - offset) / scale.

    Parameters
    ----------
    image : ndarray
        (C, Z, Y, X) or (C, Y, X), any real dtype; NaN is ignored.
    rule : mapping
        ``method``: one of `METHODS`. ``percentile`` has ``lower`` and ``upper`` in percent,
        ``range`` has ``minimum`` and ``maximum`` in grey levels. ``steps`` has
        the arguments of `cytoloop.intensity.steps.fit_steps`.

    Returns
    -------
    offset, scale : ndarray of float32
        (C,). The scale of a constant channel is 1.
    low, high : ndarray of float32
        (C,), of ``steps`` only: limits of the result.

    Raises
    ------
    ConfigError
        The rule is invalid, see `rule_problems`.
    """
    check_rule(rule)
    method = rule.get("method", "percentile")
    flat = image.reshape(len(image), -1)
    if flat.shape[1] > MAX_SAMPLE_VOXELS:
        flat = flat[:, :: flat.shape[1] // MAX_SAMPLE_VOXELS + 1]
    flat = flat.astype(np.float32)
    if method == STEPS:
        return fit_steps(flat, rule[STEPS], rule.get(MEASURED))
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


def normalize(
    image: np.ndarray,
    offset: np.ndarray,
    scale: np.ndarray,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> np.ndarray:
    """Return the normalised image, (image - offset) / scale, between `low` and `high`.

    Parameters
    ----------
    image : ndarray
        (C, ...), any real dtype. NaN and infinity become 0, the level of the offset.
    offset, scale : ndarray
        (C,), from `intensity_statistics`.
    low, high : ndarray, optional
        (C,), limits of the result.

    Returns
    -------
    ndarray of float32
        Same shape.
    """
    per_channel = (-1,) + (1,) * (image.ndim - 1)
    out = np.array(image, np.float32, order="C")  # also for rotated and flipped views
    out -= offset.reshape(per_channel)
    out /= scale.reshape(per_channel)
    if low is not None and high is not None:
        np.clip(out, low.reshape(per_channel), high.reshape(per_channel), out=out)
    if image.dtype.kind == "f":
        np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return out
