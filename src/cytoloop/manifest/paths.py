"""Absolute paths of manifest cells and settings."""

from __future__ import annotations

import os
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.home import expand_home
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote


def absolute_path(text: str, root: str | Path = "") -> Path:
    """Return the absolute path of a cell or setting; a relative path starts at `root`.

    ``~`` is the home folder; ``~name`` is an ordinary file name.

    Raises
    ------
    ManifestError
        The text is a URL.
    """
    if is_remote(text):
        raise ManifestError(redact_url(text), "is a URL", "Expected a path on this machine.")
    return Path(os.path.abspath(Path(root) / expand_home(text)))


def absolute_location(text: str, root: str | Path = "") -> str:
    """Return the absolute path of a cell, or its URL unchanged."""
    return text if is_remote(text) else str(absolute_path(text, root))
