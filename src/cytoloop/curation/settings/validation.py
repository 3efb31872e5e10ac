"""Checks of single settings: each returns what is wrong with a value.

A field names its check in its metadata: ``field(metadata=checked_by(true_or_false))``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from cytoloop.curation.checks.quality_limits import limits_from
from cytoloop.curation.region_cells import rule_problem, split_rules
from cytoloop.errors import ConfigError
from cytoloop.io.file_keys import compile_pattern
from cytoloop.manifest import plane_cell


class SettingProblem(NamedTuple):
    """A wrong setting: where it is and what was expected; how to repair it, "" if that is clear."""

    text: str
    repair: str = ""


Check = Callable[[str, Any], list[SettingProblem]]
"""(config key, value) -> problems."""


def checked_by(check: Check, key: str = "") -> dict[str, Any]:
    """Return the metadata of a field that is checked.

    Parameters
    ----------
    check : callable
    key : str
        The config key, where it is not the field's name.
    """
    return {"check": check, "key": key}


def check_values(settings: Any) -> list[SettingProblem]:
    """Return the problems of all fields of a dataclass that have a check."""
    found = []
    for one in fields(settings):
        if "check" in one.metadata:
            key = one.metadata["key"] or one.name
            found += one.metadata["check"](key, getattr(settings, one.name))
    return found


def unexpected(key: str, value: Any, expected: str, repair: str = "") -> SettingProblem:
    """Return the problem of a value that is not what was expected."""
    shown = "null" if value is None else value
    return SettingProblem(f"{key}={shown}: expected {expected}", repair)


def one_of(*choices: str | None) -> Check:
    """Return a check that a value is one of several; None is written as null."""
    expected = " or ".join("null" if choice is None else choice for choice in choices)
    return lambda key, value: [] if value in choices else [unexpected(key, value, expected)]


def true_or_false(key: str, value: Any) -> list[SettingProblem]:
    """Check a switch."""
    return [] if isinstance(value, bool) else [unexpected(key, value, "true or false")]


def auto_or_switch(key: str, value: Any) -> list[SettingProblem]:
    """Check a switch that may be ``auto``."""
    good = isinstance(value, bool) or value == "auto"
    return [] if good else [unexpected(key, value, "auto, true or false")]


def whole_number(expected: str, minimum: int | None = None, allow_none: bool = False) -> Check:
    """Return a check of a whole number, with the words for what was expected."""

    def check(key: str, value: Any) -> list[SettingProblem]:
        if value is None and allow_none:
            return []
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if is_whole and (minimum is None or value >= minimum):
            return []
        return [unexpected(key, value, expected)]

    return check


def time_point(allow_all: bool = False) -> Check:
    """Return a check of a time point: None, a number from 0, or the word ``all``."""
    also = " or all" if allow_all else ""

    def check(key: str, value: Any) -> list[SettingProblem]:
        if value is None or str(value).isdigit() or (allow_all and value == "all"):
            return []
        return [unexpected(key, value, f"a time point, 0, 1, 2 ...{also}")]

    return check


def planes(key: str, value: Any) -> list[SettingProblem]:
    """Check which planes of a stack are pictures, see `cytoloop.manifest.plane_cell`."""
    try:
        plane_cell(value)
    except ConfigError as error:
        return [SettingProblem(f"{key} {error.problems[0]}", error.repair)]
    return []


def spacing(key: str, value: Any) -> list[SettingProblem]:
    """Check a voxel size: None, or two or three sizes in um, all above 0."""
    if value is None:
        return []
    try:
        is_good = len(value) in (2, 3) and all(0 < float(size) < float("inf") for size in value)
    except (TypeError, ValueError):
        is_good = False
    if is_good:
        return []
    return [unexpected(key, value, "sizes in um, all above 0", "Give spacing_um=[z,y,x].")]


def label_values(key: str, value: Any) -> list[SettingProblem]:
    """Check label numbers: None, one number, or several."""
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    good = all(re.fullmatch(r"-?\d+", str(one)) for one in values)
    return [] if good else [unexpected(key, value, "a label, for example 255 or -1")]


def file_key(key: str, value: Any) -> list[SettingProblem]:
    """Check the key of file names: ``stem``, or a pattern with a part ``id``."""
    if not isinstance(value, str) or not value:
        return [unexpected(key, value, "stem, or a pattern with (?P<id>...)")]
    return [] if value == "stem" else pattern("id")(key, value)


def pattern(part: str) -> Check:
    """Return a check of a regular expression with a named part.

    Text without a parenthesis is accepted: it may be the name of a column.
    """

    def check(key: str, value: Any) -> list[SettingProblem]:
        if not value or "(" not in value:
            return []
        try:
            compile_pattern(value, part, key)
        except ConfigError as error:
            return [SettingProblem(f"{error.where}: {p}", error.repair) for p in error.problems]
        return []

    return check


def quality_limits(key: str, value: Any) -> list[SettingProblem]:
    """Check the limits of quality metrics."""
    if not isinstance(value, Mapping):
        return [unexpected(key, value, "metrics with their limits")]
    try:
        limits_from(value)
    except ConfigError as error:
        return [SettingProblem(problem, error.repair) for problem in error.problems]
    return []


def region_rules(key: str, value: Any) -> list[SettingProblem]:
    """Check rules of excluded regions."""
    if not isinstance(value, (str, Sequence)):
        return [unexpected(key, value, "rules, or []")]
    problems = (rule_problem(rule) for rule in split_rules(value))
    return [SettingProblem(f"{key}: {problem}") for problem in problems if problem]
