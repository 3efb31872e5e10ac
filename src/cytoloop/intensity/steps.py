"""Grey-level steps of other programs: clipping, scaling and normalisation, one after the other.

Every chain of these steps is one scaling and one clipping of each channel: (x - offset) / scale,
then between a lowest and a highest value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_NUMBERS = {
    "clip": ("minimum", "maximum", "lower", "upper"),
    "linear": ("gain", "offset"),
    "zscore": ("eps",),
    "percentile": ("lower", "upper", "eps"),
}
"""Names of steps and their numbers. ``joint`` of a step: all channels together."""
_MAX_STEPS = 20


MEASURED = "measured"
"""Key of a rule: its steps measure the ``input``, or what the steps before them return."""


def steps_problems(steps: Any, measured: Any = None) -> list[str]:
    """Return what is wrong with a list of steps and the value of `MEASURED`, [] if it is valid."""
    if measured not in (None, "input"):
        return [f"has {MEASURED}={measured!r}"[:80] + ", expected input"]
    if not isinstance(steps, (list, tuple)) or not 1 <= len(steps) <= _MAX_STEPS:
        return [f"is {steps!r}"[:80] + f", expected a list of 1 to {_MAX_STEPS} steps"]
    problems = []
    for step in steps:
        name = step.get("name") if isinstance(step, Mapping) else None
        if name not in _NUMBERS:
            problems.append(f"has the step {step!r}"[:80] + f", expected {', '.join(_NUMBERS)}")
            continue
        for key, value in step.items():
            if key in ("name", "joint"):
                continue
            values = value if isinstance(value, (list, tuple)) else [value]
            if key not in _NUMBERS[name] or not all(_is_number(one) for one in values):
                problems.append(f"has the step {name} with {key}={value!r}"[:120])
        if name == "linear" and not np.all(step.get("gain", 1.0)):
            problems.append("has the step linear with gain 0")
    return problems


def fit_steps(
    sample: np.ndarray, steps: Sequence[Mapping[str, Any]], measured: str | None = None
) -> tuple[np.ndarray, ...]:
    """Return offset, scale, lowest and highest value of each channel, (C,) float32 each.

    Each step measures the grey levels that the steps before it return.

    Parameters
    ----------
    sample : ndarray of float32
        (C, N) grey levels; NaN is ignored.
    steps : sequence of mapping
        See `steps_problems`. ``clip`` has ``minimum`` and ``maximum``, or percentiles ``lower`` and
        ``upper``; ``linear`` multiplies by ``gain`` and adds ``offset``.
    measured : str, optional
        ``input``: each step measures the sample itself.
    """
    values = sample.astype(np.float64)
    gain, shift = np.ones((len(values), 1)), np.zeros((len(values), 1))
    low, high = np.full((len(values), 1), -np.inf), np.full((len(values), 1), np.inf)
    for step in steps:
        if measured == "input":
            values = sample.astype(np.float64)
        if step["name"] == "clip":
            bottom, top = _clip_limits(values, step)
            low, high = np.clip(low, bottom, top), np.clip(high, bottom, top)
            values = np.clip(values, bottom, top)
            continue
        times, plus = _scaling(values, step)
        gain, shift = gain * times, shift * times + plus
        ends = low * times + plus, high * times + plus
        low, high = np.minimum(*ends), np.maximum(*ends)
        values = values * times + plus
    return tuple(each.astype(np.float32).ravel() for each in (-shift / gain, 1 / gain, low, high))


def _clip_limits(values: np.ndarray, step: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of a step ``clip``, (C, 1) each."""
    limits = []
    for key, percentile, default in (
        ("minimum", "lower", -np.inf),
        ("maximum", "upper", np.inf),
    ):
        if percentile in step:  # an element of the image, as the zoo's runner takes
            limits.append(_quantile(values, step, step[percentile], "inverted_cdf"))
        else:
            limits.append(np.full((len(values), 1), float(step.get(key, default))))
    return limits[0], limits[1]


def _scaling(values: np.ndarray, step: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and summand of a step, (C, 1) each."""
    if step["name"] == "linear":
        shape = (len(values), 1)
        gain, offset = (
            np.broadcast_to(np.reshape(np.asarray(step.get(key, default), float), (-1, 1)), shape)
            for key, default in (("gain", 1.0), ("offset", 0.0))
        )
        return gain, offset
    eps = float(step.get("eps", 1e-6))
    if step["name"] == "zscore":
        axis = None if step.get("joint") else 1
        mean, std = (
            np.broadcast_to(f(values, axis=axis, keepdims=True), (len(values), 1))
            for f in (np.nanmean, np.nanstd)
        )
        return 1 / (std + eps), -mean / (std + eps)
    low, high = (_quantile(values, step, step[key], "linear") for key in ("lower", "upper"))
    return 1 / (high - low + eps), -low / (high - low + eps)


def _quantile(values: np.ndarray, step: Mapping[str, Any], percent: float, how: Any) -> np.ndarray:
    axis = None if step.get("joint") else 1
    found = np.nanpercentile(values, percent, axis=axis, keepdims=True, method=how)
    return np.broadcast_to(found, (len(values), 1))


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
