"""List the image files of a folder or pattern."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from cytoloop.errors import ImageError
from cytoloop.home import expand_home
from cytoloop.io.multi_file import join_channel_files
from cytoloop.io.names import is_in_zarr
from cytoloop.io.notes import note
from cytoloop.io.readers.formats import COMPANION_SUFFIXES, IMAGE_SUFFIXES
from cytoloop.io.readers.tiff_ome import drop_members
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
    path = expand_home(text)
    if path.is_dir() and not is_in_zarr(path):
        found = [p for p in path.iterdir() if p.name.lower().endswith(IMAGE_SUFFIXES)]
        found = join_channel_files(path, _without_previews(text, found))
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
    return drop_members(p for p in found if not p.name.startswith("."))


def _without_previews(folder: str, found: list[Path]) -> list[Path]:
    """Return the files of a folder without PNG, JPEG and such, where it holds other images."""
    images = [path for path in found if not path.name.lower().endswith(COMPANION_SUFFIXES)]
    if images and len(images) < len(found):
        note(
            folder,
            f"{len(found) - len(images)} PNG, JPEG or _seg.npy files beside other images are left "
            f"out; name them with a pattern, such as '{folder.rstrip('/')}/*.png'",
        )
    return images or found


def _match(pattern: str) -> list[Path]:
    """Return the files that match a pattern with ``*``, ``?``, ``[]``, ``**`` and ``{a,b}``.

    A part that exists as it is typed stands for itself: ``run [Well 5]/*.tif``.
    """
    anchor = Path(pattern).anchor
    literal, rest = Path(anchor), list(Path(pattern).parts[bool(anchor) :])
    while len(rest) > 1 and (literal / rest[0]).is_dir():
        literal /= rest.pop(0)
    below = "/".join(rest)
    names = {
        path
        for one in dict.fromkeys([below, *_expand_braces(below)])
        for path in _walk(literal, Path(one).parts)
    }
    images = [p for p in names if p.name.lower().endswith(IMAGE_SUFFIXES) or is_in_zarr(p)]
    return images or [path for path in names if path.is_file()]


def _walk(folder: Path, parts: Sequence[str]) -> set[Path]:
    """Return the paths below a folder that match a pattern, given part by part."""
    found = {folder}
    for number, part in enumerate(parts, start=1):
        if part == "**":
            pattern = "**/" if number < len(parts) else "**"
            found |= {
                root / below
                for root in found
                for below in glob.iglob(pattern, root_dir=root, recursive=True)
            }
        else:
            found = {path for root in found for path in _match_part(root, part)}
    return found


def _match_part(folder: Path, part: str) -> list[Path]:
    if (folder / part).exists():
        return [folder / part]
    return [folder / name for name in glob.glob(part, root_dir=folder)]


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
