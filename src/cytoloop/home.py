"""Paths that start with ``~``."""

from __future__ import annotations

import re
from pathlib import Path


def expand_home(path: str | Path) -> Path:
    """Return a path whose ``~`` is the home folder; ``~name`` is an ordinary name.

    `Path.expanduser` takes ``~name`` for the home of a user, and fails where there is none.
    """
    return Path(path).expanduser() if re.match(r"~([/\\]|$)", str(path)) else Path(path)
