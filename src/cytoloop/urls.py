"""URLs beside paths: which text is one, which are followed, what path is in one."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from cytoloop.redact import USER

SUFFIXES = (
    *(".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif"),
    *(".czi", ".zarr", ".nd2", ".lif", ".h5", ".hdf5"),
)
"""File name endings taken for images when a folder is listed."""

PROTOCOLS = ("http", "https", "s3", "gs", "file", "memory")
_URL = re.compile(r"[A-Za-z][\w+.-]+(::[\w+.-]*)*://")


def is_remote(text: object) -> bool:
    """Tell a URL from a path; URLs of protocols that are refused are URLs too.

    >>> is_remote("s3://bucket/a.tif"), is_remote("C:/a.tif")
    (True, False)
    """
    return isinstance(text, str) and _URL.match(text) is not None


def refusal(url: str) -> str | None:
    """Return why a URL is not followed, None where it is."""
    protocol = protocol_of(url)
    if "::" in url:
        return "is a chain of URLs (::), which is not followed"
    if protocol not in PROTOCOLS:
        return f"protocol {protocol!r} is not followed; expected {', '.join(PROTOCOLS)}"
    if protocol in ("s3", "gs") and USER.search(url):
        return "holds a user name; give credentials as the server's own tools take them"
    return None


def plain_path(text: str | Path) -> str:
    """Return the path within a URL, for what is read off file names; a path as it is.

    Over http what follows the name of an image is left out: some archives have URLs such as
    ``.../files/img.tif/content``.

    >>> plain_path("https://host/plate%201/a.tif?download=1")
    'plate 1/a.tif'
    """
    if not isinstance(text, str) or not is_remote(text):
        return str(text)
    path = USER.sub("//", text).partition("://")[2]
    if protocol_of(text) not in ("http", "https"):
        return path.strip("/")
    parts = unquote(re.split(r"[?#]", path)[0].partition("/")[2]).strip("/").split("/")
    images = [i for i, part in enumerate(parts) if part.lower().endswith(SUFFIXES)]
    return "/".join(parts[: images[-1] + 1] if images else parts)


def protocol_of(url: str) -> str:
    """Return ``https`` of ``HTTPS://host/a``."""
    return url.partition(":")[0].lower()
