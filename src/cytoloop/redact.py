"""What may be shown of a URL: no user, no password, no query, which may be a key."""

from __future__ import annotations

import re

USER_PATTERN = re.compile(r"//[^/\s?#]*@")
_PASSWORD = re.compile(r"//[^/\s?#@]*:[^/\s?#]*@|[?&]password=")
_DATABASE = re.compile(r"\b((?:postgresql|mysql|mssql)[\w+]*://)[^\s@]*@")
"""Their passwords may hold a slash."""
_KEY = re.compile(r"([?&]password=)[^&\s'\"]*")
_BROKEN_USER = re.compile(r"(?<!/)//[^/\s@]*:(?!\d*(?:[/\s?#]|$))\S*")


def redact_url(text: str) -> str:
    """Return a URL, or a text with URLs, without users, passwords and queries (they may be keys).

    >>> redact_url("https://ann:secret@host/a.tif?token=1")
    'https://host/a.tif?...'
    """
    text = _BROKEN_USER.sub("//***", USER_PATTERN.sub("//", text))
    return re.sub(r"(//[^\s?]*)\?\S+", r"\1?...", text)


def redact_text(text: str) -> str:
    """Return a text of any kind, as a line of a log, without users and passwords of URLs.

    >>> redact_text("cannot reach (postgresql://ann:secret@host:5432/db)")
    'cannot reach (postgresql://host:5432/db)'
    """
    return _KEY.sub(r"\1***", USER_PATTERN.sub("//", _DATABASE.sub(r"\1", text)))


def has_password(url: str) -> bool:
    """Tell whether a URL holds a password.

    >>> has_password("postgresql://ann@host/db"), has_password("postgresql://ann:secret@host/db")
    (False, True)
    """
    return bool(_PASSWORD.search(url) or _BROKEN_USER.search(url))
