"""Bounds of numbers in a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AUTO = "auto"
"""The value that leaves a key to the plan."""


@dataclass(frozen=True)
class Bounds:
    """A number that the user may set.

    Attributes
    ----------
    key : str
    low, high : float
        Both are allowed.
    whole : bool
        A whole number.
    also : tuple
        Other values that are allowed.
    """

    key: str
    low: float
    high: float
    whole: bool = True
    also: tuple[Any, ...] = ()

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, with the nearest one that is allowed; else None."""
        if any(value is one or (one is not None and value == one) for one in self.also):
            return None
        kind = "a whole number" if self.whole else "a number"
        span = f"{self.low:.10g} to {self.high:.10g}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            found = "null" if value is None else repr(value)
            return f"is {found}, expected {kind}, {span}"
        nearest = min(max(value, self.low), self.high) if value == value else self.low
        if self.whole:
            nearest = round(nearest)
        return None if nearest == value else f"is {value}, expected {span}; nearest: {nearest:.10g}"
