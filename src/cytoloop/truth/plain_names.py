"""Class names of other programs as names of table columns."""

from __future__ import annotations

import re


def plain_name(name: str) -> str:
    """Return a class name of letters, digits and underscores: it becomes the name of columns.

    >>> plain_name("cell wall"), plain_name("2nd")
    ('cell_wall', 'c2nd')
    """
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:39]
    return plain if plain[:1].isalpha() else f"c{plain}"
