"""URLs in manifests: recognise them, and refuse unsafe protocols."""

from __future__ import annotations

import re

from cytoloop.redact import USER_PATTERN

PROTOCOLS = ("http", "https", "s3", "gs", "file", "memory")
"""Protocols that are followed."""

_URL = re.compile(r"[A-Za-z][\w+.-]+(::[\w+.-]*)*://")


def is_remote(text: object) -> bool:
    """Return whether a text is a URL, of any protocol, and not a path.

    >>> is_remote("s3://bucket/a.tif"), is_remote("C:/a.tif")
    (True, False)
    """
    return isinstance(text, str) and _URL.match(text) is not None


def refusal_reason(url: str) -> str | None:
    """Return why a URL is not followed, None if it is."""
    protocol = protocol_of(url)
    if "::" in url:
        return "is a chain of URLs (::), which is not followed"
    if protocol not in PROTOCOLS:
        return f"protocol {protocol!r} is not followed; expected {', '.join(PROTOCOLS)}"
    if protocol in ("s3", "gs") and USER_PATTERN.search(url):
        return "holds a user name; store credentials as the tools of the server expect them"
    return None


def protocol_of(url: str) -> str:
    """Return the protocol of a URL in lower case.

    >>> protocol_of("HTTPS://host/a")
    'https'
    """
    return url.partition(":")[0].lower()
