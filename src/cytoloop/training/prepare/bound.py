"""The bounds of one number that a user may set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bound:
    """The values that a key of a config may have.

    Attributes
    ----------
    key : str
        Dotted.
    low, high : float
        Smallest and largest value, both allowed.
    whole : bool
        Whether only whole numbers are allowed.
    also : tuple
        Other values that are allowed, as None or ``auto``.
    """

    key: str
    low: float
    high: float
    whole: bool = True
    also: tuple[Any, ...] = ()

    def fault(self, value: Any) -> str | None:
        """Return the fault of a value and the nearest value that is allowed; None if it is fine."""
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
