"""Bounds of numbers in a config, and one error for all values outside their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.errors import ConfigError

_PRINTABLE = 1e300
AUTO = "auto"
"""Value of a key that the plan sets."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of a number that the user may set.

    Attributes
    ----------
    key : str
        Config key.
    low, high : float
        Smallest and largest value, both allowed.
    whole : bool
        Only whole numbers are allowed.
    also : tuple
        Other values that are allowed.
    """

    key: str
    low: float
    high: float
    whole: bool = True
    also: tuple[Any, ...] = ()

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value and the nearest allowed one; None if it is allowed."""
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
        if nearest == value:
            return None
        found = str(value) if abs(value) < _PRINTABLE or value != value else "a huge number"
        return f"is {found}, expected {span}; nearest: {nearest:.10g}"


def raise_faults(faults: Sequence[tuple[str, str]], repair: str) -> None:
    """Raise one error for all faults, if there are any.

    Parameters
    ----------
    faults : sequence of (str, str)
        Config key, and what is wrong with its value.
    repair : str

    Raises
    ------
    ConfigError
    """
    if len(faults) == 1:
        raise ConfigError(*faults[0], repair)
    if faults:
        raise ConfigError("settings", [f"{key} {fault}" for key, fault in faults], repair)
