"""Cells that name several regions: paths, URLs, rules and ``none``, separated by ``;``."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.manifest import absolute_location
from cytoloop.truth.regions import is_rule, parse_rule
from cytoloop.urls import is_remote

NONE = "none"
"""Clears the regions before it."""
SOURCES = "sources"
"""In a decisions log: clears the regions of earlier decisions, not those of the sources."""


def parse_regions(text: str, root: Path) -> tuple[str, ...]:
    """Return the regions of a cell: absolute paths, URLs, rules and ``none``.

    A path that contains a ``;`` must be in double quotes.

    Parameters
    ----------
    text : str
    root : Path
        Folder that relative paths start from.
    """
    found = next(csv.reader([text], delimiter=";", skipinitialspace=True), [])
    parts = [part.strip() for part in found]
    return tuple(
        part if is_keyword(part) else absolute_location(part, root) for part in parts if part
    )


def format_regions(parts: Iterable[str]) -> str:
    """Return the cell that `parse_regions` reads."""
    return "; ".join(
        '"' + part.replace('"', '""') + '"' if ";" in part or part.startswith('"') else part
        for part in parts
    )


def format_relative_regions(parts: Iterable[str], folder: Path) -> str:
    """Return a cell whose paths are relative to a folder."""
    return format_regions(part if is_keyword(part) else _relative(part, folder) for part in parts)


def is_keyword(part: str) -> bool:
    """Return whether a part is a rule, ``none`` or ``sources``, not a path."""
    return part.lower() in (NONE, SOURCES) or is_rule(part)


def split_rules(rules: str | Sequence[str]) -> tuple[str, ...]:
    """Return the rules of a setting: a list, or one text with ``;`` or ``,`` between the rules."""
    if not isinstance(rules, str):
        return tuple(map(str, rules))
    outside_parentheses = r"[;,](?![^()]*\))"
    parts = (
        part.strip(" '\"") for part in re.split(outside_parentheses, rules.strip().strip("[]"))
    )
    return tuple(part for part in parts if part)


def rule_problem(text: str) -> str | None:
    """Return what is wrong with a region rule, None for a valid one."""
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
