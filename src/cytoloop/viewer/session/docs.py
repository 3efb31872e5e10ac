"""Where the documentation lies: the built site or the pages of a clone, beside the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cytoloop

PAGES = {
    "data": "how-to/bring-data",
    "regions": "how-to/exclude-and-merge",
    "curate": "reference/curation",
    "train": "reference/training",
    "predict": "reference/prediction",
    "compare": "reference/evaluation",
    "models": "reference/tracking",
    "first": "tutorials/no-labels-yet",
}
"""Part of the panels to its page."""


@cache
def docs_link(page: str) -> str:
    """Return the address of a page, "" where the documentation is not installed.

    Parameters
    ----------
    page : str
        Without suffix, for example ``reference/curation``.
    """
    root = Path(cytoloop.__file__).parents[2]
    files = (root / "build" / "site" / page / "index.html", root / "docs" / f"{page}.md")
    return next((file.as_uri() for file in files if page and file.is_file()), "")
