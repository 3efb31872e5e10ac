"""Sweeps: the same workflow with several values of one or two parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from cytoloop.classic.workflow import Workflow
from cytoloop.errors import ConfigError

_MOST_THUMBNAILS = 36


def sweep_grid(values: Mapping[str, Any], sweep: Any) -> list[list[tuple[str, Workflow]]]:
    """Return the workflows of a sweep over one or two parameters, [] without one.

    Parameters
    ----------
    values : mapping
        Config of the workflow.
    sweep : mapping of str to list, or None
        Values by ``STEP.PARAMETER``.

    Returns
    -------
    list of lists of (str, Workflow)
        A row for each value of the first parameter, a column for each of the second; each with
        its title.

    Raises
    ------
    ConfigError
        The sweep names other than one or two parameters, or one that no step has.
    """
    if not sweep:
        return []
    example = "Example: sweep='{threshold.scale: [0.8,1,1.2], watershed.min_depth: [0.1,0.3]}'"
    if not isinstance(sweep, Mapping) or len(sweep) not in (1, 2):
        raise ConfigError("sweep", f"is {sweep}, expected one or two parameters", example)
    (first, rows), (second, columns) = [*sweep.items(), ("", [None])][:2]
    for key, tried in sweep.items():
        if not isinstance(tried, list) or not tried or "." not in str(key):
            raise ConfigError("sweep", f"{key}: {tried}, expected STEP.PARAMETER: [...]", example)
    if len(rows) * len(columns) > _MOST_THUMBNAILS:
        found = f"has {len(rows) * len(columns)} thumbnails, expected at most {_MOST_THUMBNAILS}"
        raise ConfigError("sweep", found, "Give fewer values.")
    grid = []
    for a in rows:
        line = []
        for b in columns:
            pairs = [(first, a), (second, b)]
            line.append((_title(*pairs), Workflow.from_config(_changed(values, *pairs))))
        grid.append(line)
    return grid


def _title(*pairs: tuple[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in pairs if key)


def _changed(values: Mapping[str, Any], *pairs: tuple[str, Any]) -> dict[str, Any]:
    """Return the config of a workflow with other values of parameters."""
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    for key, value in pairs:
        if not key:
            continue
        step, _, name = key.partition(".")
        if not isinstance(changed["steps"].get(step), Mapping):
            known = ", ".join(changed["steps"])
            raise ConfigError("sweep", f"{key}: no such step, expected {known}", "Name one.")
        changed["steps"][step][name] = value
    return changed
