"""File names of images: path in a URL, stem, and safe names for new files."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from cytoloop.io.readers.formats import IMAGE_SUFFIXES
from cytoloop.redact import USER_PATTERN
from cytoloop.urls import is_remote, protocol_of

_CHANNEL_FILES = re.compile(r"_\{\d{4}(,\d{4})*\}$")
"""Part of the name of an image in several files, see `cytoloop.io.multi_file`."""


def stem(path: str | Path) -> str:
    """Return the file name without its (possibly double) image suffix, in Unicode's form NFC.

    macOS and some file servers write an umlaut as two characters, other systems as one.

    >>> stem("a/b.ome.tif")
    'b'
    """
    path = Path(path_in_url(path))
    if is_in_zarr(path):  # the store has the name; parts such as labels/nuclei repeat
        path = next(p for p in (path, *path.parents) if p.name.lower().endswith(".zarr"))
    name = unicodedata.normalize("NFC", path.name)
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            return _CHANNEL_FILES.sub("", name[: -len(suffix)])
    return Path(name).stem


def is_in_zarr(path: Path) -> bool:
    """Return whether a path is a Zarr store or a folder inside one, such as a label image."""
    return any(part.lower().endswith(".zarr") for part in path.parts) and path.is_dir()


def safe_name(text: str) -> str:
    """Return a text as a safe file name, which cannot lead out of its folder.

    >>> safe_name("../plate 1/a*")
    'plate 1_a_'
    """
    name = "".join(c if c.isalnum() or c in "-_.+= " else "_" for c in text)
    return name.lstrip("._ ").rstrip(". ") or "image"


def path_in_url(text: str | Path) -> str:
    """Return the path in a URL; a path is returned unchanged.

    For http, the parts after the image name are dropped: some archives have URLs such as
    ``.../files/img.tif/content``.

    >>> path_in_url("https://host/plate%201/a.tif?download=1")
    'plate 1/a.tif'
    """
    if not isinstance(text, str) or not is_remote(text):
        return str(text)
    path = USER_PATTERN.sub("//", text).partition("://")[2]
    if protocol_of(text) not in ("http", "https"):
        return path.strip("/")
    parts = unquote(re.split(r"[?#]", path)[0].partition("/")[2]).strip("/").split("/")
    images = [i for i, part in enumerate(parts) if part.lower().endswith(IMAGE_SUFFIXES)]
    return "/".join(parts[: images[-1] + 1] if images else parts)
