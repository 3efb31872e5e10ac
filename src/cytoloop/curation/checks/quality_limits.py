"""Limits of the quality metrics, and the review priority of a row.

A limit is the range in which a metric is fine. Outside it, the action ``flag`` marks the row,
``reject`` leaves it out of the splits, and ``ignore`` only records the metric. A curator's ``keep``
overrides a limit. It does not override a problem, with which a row cannot be used for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cytoloop.errors import ConfigError

ACTIONS = ("flag", "reject", "ignore")


@dataclass(frozen=True)
class Limit:
    """The range in which a metric is fine.

    Attributes
    ----------
    meaning : str
        Words for a row outside the limit.
    min, max : float or None
        None: no limit on this side.
    action : str
        ``flag``, ``reject`` or ``ignore``.
    weight : float
        Added to the priority of a row outside the limit.
    """

    meaning: str
    min: float | None = None
    max: float | None = None
    action: str = "flag"
    weight: float = 1.0

    def to_record(self) -> dict[str, Any]:
        """Return the values that a config gives."""
        return {"min": self.min, "max": self.max, "action": self.action, "weight": self.weight}


class Violation(NamedTuple):
    """A metric outside its limit, with a description and the limit's action."""

    metric: str
    text: str
    action: str


DEFAULT_LIMITS = {
    "focus": Limit("blurred", min=0.2),
    "contrast": Limit("objects hardly differ from background", min=2.0),
    "saturated": Limit("overexposed", max=0.01),
    "foreground": Limit("hardly any background", max=0.98),
    "objects": Limit("number of objects"),
    "label_gaps": Limit("missing label numbers", max=0, weight=0.1),
    "split_labels": Limit("labels in several pieces", max=0),
    "tiny_pieces": Limit("tiny pieces", max=0, weight=0.5),
    "misalignment": Limit("image and segmentation fit better when shifted", max=0.01, weight=2.0),
    "unlabelled": Limit(
        "objects as bright as labelled ones have no label: label them, or exclude what nobody "
        "annotated with ignore_label= or exclude_rules=outside_labels(20)",
        max=0.5,
        weight=2.0,
    ),
    "inverted": Limit("the mask covers the border: invert it if 0 marks the objects", max=0),
    "ignore_value": Limit("largest value of the file type: set ignore_label= to exclude it", max=0),
    "similarity": Limit("near-duplicate of another image", max=0.95),
    "disagreement": Limit("the prediction differs from the segmentation", max=0.5),
    "uncertainty": Limit("the model is uncertain", max=0.5),
}
"""All metrics that can have a limit. The source of the numbers: docs/reference/curation.md."""

GRADED_METRICS = ("disagreement", "uncertainty")
"""Metrics from 0 to 1 that also add to the priority inside their limits."""

_PROBLEM_PRIORITY = 10.0


def limits_from(given: Mapping[str, Any]) -> dict[str, Limit]:
    """Return the limits of all metrics: the default ones with the given values replaced.

    Parameters
    ----------
    given : mapping
        Metric to a mapping with some of ``min``, ``max``, ``action``, ``weight``.

    Raises
    ------
    ConfigError
        Unknown metrics, keys or actions, and values that are not numbers; all of them.
    """
    problems: list[str] = []
    limits = dict(DEFAULT_LIMITS)
    for metric, values in given.items():
        where = f"quality.{metric}"
        if metric not in DEFAULT_LIMITS:
            problems.append(f"{where}: no such metric; expected one of {', '.join(DEFAULT_LIMITS)}")
            continue
        found = _limit_problems(where, values)
        problems += found
        if not found:
            limits[metric] = replace(limits[metric], **values)
            low, high = limits[metric].min, limits[metric].max
            if low is not None and high is not None and low > high:
                problems.append(f"{where}: min {low:g} is above max {high:g}")
    if problems:
        raise ConfigError("quality", problems, "Example: quality.focus.min=0.3")
    return limits


def find_violations(metrics: Mapping[str, float], limits: Mapping[str, Limit]) -> list[Violation]:
    """Return the metrics of a row that are outside their limits, in the order of the limits."""
    found = []
    for name, limit in limits.items():
        value = metrics.get(name)
        if value is None or limit.action == "ignore":
            continue
        if limit.min is not None and value < limit.min:
            text = f"{name} {value:.3g} is below {limit.min:g} ({limit.meaning})"
        elif limit.max is not None and value > limit.max:
            text = f"{name} {value:.3g} is above {limit.max:g} ({limit.meaning})"
        else:
            continue
        found.append(Violation(name, text, limit.action))
    return found


def priority(metrics: Mapping[str, float], limits: Mapping[str, Limit], problems: int = 0) -> float:
    """Return the review priority of a row; 0 where there is nothing to review.

    It is the sum of 10 per problem, the weight of each metric outside its limit, and the weights
    of disagreement and uncertainty times their values (0 to 1).

    Parameters
    ----------
    metrics : mapping of str to float
    limits : mapping of str to Limit
    problems : int
        Number of problems of the row.
    """
    total = _PROBLEM_PRIORITY * problems
    for violation in find_violations(metrics, limits):
        total += limits[violation.metric].weight
    for name in GRADED_METRICS:
        if limits[name].action != "ignore":
            total += limits[name].weight * metrics.get(name, 0.0)
    return round(total, 4)


def _limit_problems(where: str, values: Any) -> list[str]:
    """Return what is wrong with the values given for one limit."""
    if not isinstance(values, Mapping):
        return [f"{where}={values}: expected min, max, action or weight"]
    problems = []
    for key, value in values.items():
        if key == "action" and value not in ACTIONS:
            problems.append(f"{where}.action={value}: expected {', '.join(ACTIONS)}")
        elif key in ("min", "max") and not (value is None or _is_number(value)):
            problems.append(f"{where}.{key}={value}: expected a number or null")
        elif key == "weight" and not (_is_number(value) and value >= 0):
            problems.append(f"{where}.weight={value}: expected a number from 0 up")
        elif key not in ("min", "max", "action", "weight"):
            problems.append(f"{where}.{key}: expected min, max, action or weight")
    return problems


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
