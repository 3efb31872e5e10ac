"""Scores as text for terminals and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SMALLEST_P = 0.001


def format_score(value: float | None) -> str:
    """Return a score with three decimals, a count as it is; "" where undefined.

    >>> format_score(0.12345), format_score(7), format_score(None)
    ('0.123', '7', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def format_difference(value: float | None) -> str:
    """Return a difference of scores with sign and three decimals; "" where undefined."""
    return "" if value is None else f"{value:+.3f}"


def format_p(value: float | None) -> str:
    """Return a p-value with three decimals, small ones as a bound; "" where undefined.

    >>> format_p(0.0312), format_p(0.0004999), format_p(None)
    ('0.031', '< 0.001', '')
    """
    if value is None or math.isnan(value):
        return ""
    return "< 0.001" if value < SMALLEST_P else f"{value:.3f}"


def format_interval(bounds: Sequence[float] | None) -> str:
    """Return an interval as ``low to high``; "" for none."""
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""


def unscored_images(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the ids of images that were not scored, by reason in words."""
    return {reason.replace("_", " "): ids for reason, ids in summary["unscored"].items() if ids}
