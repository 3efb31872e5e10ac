"""Names of image files: their endings, their stems, and names that are safe to write."""

from __future__ import annotations

from pathlib import Path

from cytoloop.urls import SUFFIXES, plain_path


def stem(path: str | Path) -> str:
    """Return the file name without its (possibly double) image suffix.

    >>> stem("a/b.ome.tif")
    'b'
    """
    name = Path(plain_path(path)).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def safe_name(text: str) -> str:
    """Return a text fit to be the name of a file: nothing in it leads out of a folder.

    >>> safe_name("../plate 1/a*")
    'plate 1_a_'
    """
    name = "".join(c if c.isalnum() or c in "-_.+= " else "_" for c in text)
    return name.lstrip("._ ").rstrip(". ") or "image"
