"""List the image files of a folder or pattern."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from cytoloop.errors import ImageError
from cytoloop.io.readers.formats import IMAGE_SUFFIXES
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote


def list_images(source: str | Path) -> list[Path]:
    """Return the image files of a folder, a glob pattern or a single file, sorted by name.

    Parameters
    ----------
    source : str or Path
        A folder (without its subfolders), a glob (``**`` includes subfolders, ``{a,b}`` are
        alternatives) or a file. A glob returns the matches with a known image suffix, or all
        matches if none has one.

    Raises
    ------
    ImageError
        The source does not exist or holds no image.
    """
    text = str(source)
    if is_remote(text):
        raise ImageError(
            redact_url(text),
            "is a URL, and folders on servers are not listed",
            "List each image in a CSV.",
        )
    path = Path(text).expanduser() if text == "~" or text.startswith("~/") else Path(text)
    if path.is_dir() and not path.name.lower().endswith(".zarr"):
        found = [p for p in path.iterdir() if p.name.lower().endswith(IMAGE_SUFFIXES)]
        if not found:
            raise ImageError(
                text,
                "the folder holds no image",
                f"Expected files ending in {', '.join(IMAGE_SUFFIXES)}.",
            )
    elif path.exists():
        found = [path]
    elif glob.has_magic(text) or "{" in text:
        found = _match(str(path))
        if not found:
            raise ImageError(text, "the pattern matches no file", "Quote it, and check the folder.")
    else:
        raise ImageError(text, "no such file or folder", "Check the path. Quote a pattern.")
    return sorted(p for p in found if not p.name.startswith("."))


def _match(pattern: str) -> list[Path]:
    """Return the files that match a pattern with ``*``, ``?``, ``[]``, ``**`` and ``{a,b}``."""
    patterns = _expand_braces(pattern)
    names = {name for part in patterns for name in glob.glob(part, recursive=True)}
    images = [Path(name) for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    return images or [Path(name) for name in names if Path(name).is_file()]


def _expand_braces(pattern: str) -> list[str]:
    """Return one pattern per alternative, in the order of a shell.

    >>> _expand_braces("{a,b}_t{1,2}.tif")
    ['a_t1.tif', 'a_t2.tif', 'b_t1.tif', 'b_t2.tif']
    """
    found = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    parts = found[1].split(",")
    return [one for part in parts for one in _expand_braces(before + part + after)]
