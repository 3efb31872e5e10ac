"""URLs without their secrets: user names, passwords and queries are removed."""

from __future__ import annotations

import re

USER_PATTERN = re.compile(r"//[^/\s?#]*@")
_PASSWORD = re.compile(r"//[^/\s?#@]*:[^/\s?#]*@|[?&]password=")
_DATABASE_USER = re.compile(r"\b((?:postgresql|mysql|mssql)[\w+]*://)[^\s@]*@")
"""A password in a database URL may contain a slash."""
_PASSWORD_QUERY = re.compile(r"([?&]password=)[^&\s'\"]*")
_UNPARSED_PASSWORD = re.compile(r"(?<!/)//[^/\s@]*:(?!\d*(?:[/\s?#]|$))\S*")
"""A colon that no port number follows: a password with a slash or a similar character."""

_SECRET_QUERY = re.compile(
    r"//[^\s?]*\?\S*?(token|secret|passw|pwd|sig|key|auth|credential|session|jwt)[^=&\s]*=",
    re.IGNORECASE,
)


def redact_url(text: str) -> str:
    """Return a text without users, passwords and queries of URLs; a query may hold a key.

    >>> redact_url("https://ann:secret@host/a.tif?token=1")
    'https://host/a.tif?...'
    """
    text = _UNPARSED_PASSWORD.sub("//***", USER_PATTERN.sub("//", text))
    return re.sub(r"(//[^\s?]*)\?\S+", r"\1?...", text)


def redact_text(text: str) -> str:
    """Return a text, for example a log line, without users and passwords of URLs.

    >>> redact_text("cannot reach (postgresql://ann:secret@host:5432/db)")
    'cannot reach (postgresql://host:5432/db)'
    """
    return _PASSWORD_QUERY.sub(r"\1***", USER_PATTERN.sub("//", _DATABASE_USER.sub(r"\1", text)))


def has_password(url: str) -> bool:
    """Return whether a URL holds a password.

    >>> has_password("postgresql://ann@host/db"), has_password("postgresql://ann:secret@host/db")
    (False, True)
    """
    return bool(_PASSWORD.search(url) or _UNPARSED_PASSWORD.search(url))


def has_secret(text: str) -> bool:
    """Return whether a URL holds a user, a password, or a query that looks like a key.

    >>> has_secret("https://host/a.tif?X-Amz-Signature=1"), has_secret("https://host/a?version=2")
    (True, False)
    """
    return bool(
        USER_PATTERN.search(text) or _UNPARSED_PASSWORD.search(text) or _SECRET_QUERY.search(text)
    )


def without_secrets(text: str) -> str:
    """Return a URL as it is written into tables: unchanged if it holds no secret."""
    return redact_url(text) if has_secret(text) else text
