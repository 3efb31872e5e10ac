"""Quality: the limits of figures, what is beyond them, and who is looked at first.

A limit names a figure, the range in which it is fine, and what happens beyond it: ``flag`` marks
the row, ``reject`` leaves it out of the splits, ``ignore`` only writes the figure down. A person's
``keep`` outweighs a limit; it does not outweigh a problem, with which no row can be trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cytoloop.errors import ConfigError

ACTIONS = ("flag", "reject", "ignore")


@dataclass(frozen=True)
class Limit:
    """The range in which a figure is fine.

    Attributes
    ----------
    meaning : str
        What a row beyond the limit is, in words.
    min, max : float or None
        None: no limit on this side.
    action : str
        ``flag``, ``reject`` or ``ignore``.
    weight : float
        What a row beyond the limit adds to its priority.
    """

    meaning: str
    min: float | None = None
    max: float | None = None
    action: str = "flag"
    weight: float = 1.0

    def recorded(self) -> dict[str, Any]:
        """Return the values that a config gives."""
        return {"min": self.min, "max": self.max, "action": self.action, "weight": self.weight}


class Finding(NamedTuple):
    """A figure beyond its limit."""

    figure: str
    text: str
    action: str


DEFAULT_LIMITS = {
    "focus": Limit("blurred", min=0.2),
    "contrast": Limit("objects hardly differ from background", min=2.0),
    "saturated": Limit("overexposed", max=0.01),
    "foreground": Limit("hardly any background is left", max=0.98),
    "objects": Limit("number of objects"),
    "label_gaps": Limit("numbers are missing among the labels", max=0, weight=0.1),
    "split_labels": Limit("labels lie in several pieces", max=0),
    "tiny_pieces": Limit("tiny pieces", max=0, weight=0.5),
    "misalignment": Limit("image and segmentation fit better when shifted", max=0.01, weight=2.0),
    "similarity": Limit("nearly the same picture as another", max=0.95),
    "disagreement": Limit("the prediction differs from the segmentation", max=0.5),
    "uncertainty": Limit("the model is unsure", max=0.5),
}
"""Figures that may be limited. Where the numbers come from: docs/curation.md."""

CONTINUOUS = ("disagreement", "uncertainty")
"""Figures from 0 to 1 that add to the priority below their limits too."""


def limits_of(given: Mapping[str, Any]) -> dict[str, Limit]:
    """Return the limits, with those given in place of the usual ones.

    Parameters
    ----------
    given : mapping
        Figure to a mapping with some of ``min``, ``max``, ``action``, ``weight``.

    Raises
    ------
    ConfigError
        Unknown figures or keys, values that are no numbers, unknown actions; all of them.
    """
    problems = []
    limits = dict(DEFAULT_LIMITS)
    for figure, values in given.items():
        where = f"quality.{figure}"
        if figure not in DEFAULT_LIMITS:
            problems.append(f"{where}: no such figure; they are {', '.join(DEFAULT_LIMITS)}")
            continue
        if not isinstance(values, Mapping):
            problems.append(f"{where}={values}: expected min, max, action or weight")
            continue
        for key, value in values.items():
            if key == "action" and value not in ACTIONS:
                problems.append(f"{where}.action={value}: expected {', '.join(ACTIONS)}")
            elif key in ("min", "max") and not (value is None or _is_number(value)):
                problems.append(f"{where}.{key}={value}: expected a number or null")
            elif key == "weight" and not (_is_number(value) and value >= 0):
                problems.append(f"{where}.weight={value}: expected a number from 0 up")
            elif key not in ("min", "max", "action", "weight"):
                problems.append(f"{where}.{key}: expected min, max, action or weight")
        if not problems:
            limits[figure] = replace(limits[figure], **values)
            low, high = limits[figure].min, limits[figure].max
            if low is not None and high is not None and low > high:
                problems.append(f"{where}: min {low:g} is above max {high:g}")
    if problems:
        raise ConfigError("quality", problems, "Example: quality.focus.min=0.3")
    return limits


def find_breaches(figures: Mapping[str, float], limits: Mapping[str, Limit]) -> list[Finding]:
    """Return the figures of a row that are beyond their limits, in the order of the limits."""
    found = []
    for name, limit in limits.items():
        value = figures.get(name)
        if value is None or limit.action == "ignore":
            continue
        if limit.min is not None and value < limit.min:
            text = f"{name} {value:.3g} is below {limit.min:g} ({limit.meaning})"
        elif limit.max is not None and value > limit.max:
            text = f"{name} {value:.3g} is above {limit.max:g} ({limit.meaning})"
        else:
            continue
        found.append(Finding(name, text, limit.action))
    return found


def priority(figures: Mapping[str, float], limits: Mapping[str, Limit], problems: int = 0) -> float:
    """Return how much a row needs to be looked at; 0 for one with nothing to see.

    10 for each problem, the weight of each figure beyond its limit, and the weights of
    disagreement and uncertainty times their values (0 to 1).
    """
    total = 10.0 * problems
    for finding in find_breaches(figures, limits):
        total += limits[finding.figure].weight
    for name in CONTINUOUS:
        if limits[name].action != "ignore":
            total += limits[name].weight * figures.get(name, 0.0)
    return round(total, 4)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
