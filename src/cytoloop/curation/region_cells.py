"""Parts of a cell that names several regions: paths, rules and ``none``, divided by ``;``."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.manifest import absolute_location
from cytoloop.truth.regions import is_rule, parse_rule
from cytoloop.urls import is_remote

NONE = "none"
"""What clears the regions that come before it."""


def split_parts(text: str, root: Path) -> tuple[str, ...]:
    """Return the regions of a cell: absolute paths, URLs, rules, and ``none``.

    A path that holds a ``;`` stands in double quotes.
    """
    found = next(csv.reader([text], delimiter=";", skipinitialspace=True), [])
    parts = [part.strip() for part in found]
    return tuple(part if is_word(part) else absolute_location(part, root) for part in parts if part)


def join_parts(parts: Iterable[str]) -> str:
    """Return the cell that `split_parts` reads."""
    return "; ".join(
        '"' + part.replace('"', '""') + '"' if ";" in part or part.startswith('"') else part
        for part in parts
    )


def relative_parts(parts: Iterable[str], folder: Path) -> str:
    """Return a cell whose paths start at a folder."""
    return join_parts(part if is_word(part) else _relative(part, folder) for part in parts)


def is_word(part: str) -> bool:
    """Tell a rule or ``none`` from a path."""
    return part.lower() == NONE or is_rule(part)


def rule_problem(text: str) -> str | None:
    """Return what is wrong with a region rule, None for a good one."""
    try:
        parse_rule(text)
    except ConfigError as error:
        return f"{text} {'; '.join(error.problems)}. {error.repair}"
    return None


def _relative(path: str, folder: Path) -> str:
    if is_remote(path):
        return path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # Windows, another drive
        return path
