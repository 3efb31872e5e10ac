"""URLs beside paths: which text is one, which are followed, what path is in one."""

from __future__ import annotations

import re

from cytoloop.redact import USER_PATTERN

PROTOCOLS = ("http", "https", "s3", "gs", "file", "memory")
_URL = re.compile(r"[A-Za-z][\w+.-]+(::[\w+.-]*)*://")


def is_remote(text: object) -> bool:
    """Tell a URL from a path; URLs of protocols that are refused are URLs too.

    >>> is_remote("s3://bucket/a.tif"), is_remote("C:/a.tif")
    (True, False)
    """
    return isinstance(text, str) and _URL.match(text) is not None


def refusal_reason(url: str) -> str | None:
    """Return why a URL is not followed, None where it is."""
    protocol = protocol_of(url)
    if "::" in url:
        return "is a chain of URLs (::), which is not followed"
    if protocol not in PROTOCOLS:
        return f"protocol {protocol!r} is not followed; expected {', '.join(PROTOCOLS)}"
    if protocol in ("s3", "gs") and USER_PATTERN.search(url):
        return "holds a user name; give credentials as the server's own tools take them"
    return None


def protocol_of(url: str) -> str:
    """Return ``https`` of ``HTTPS://host/a``."""
    return url.partition(":")[0].lower()
