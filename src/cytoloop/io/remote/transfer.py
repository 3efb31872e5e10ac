"""What a server has under a URL, what tells one state of it from another, and the download."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cytoloop.errors import ImageError
from cytoloop.io.remote.errors import ShortError, chain, explained, status_of
from cytoloop.redact import redact_url

_STRONG = ("ETag", "etag", "VersionId", "generation", "md5Hash", "crc32c", "Content-MD5", "Digest")
_DATES = ("Last-Modified", "LastModified", "updated", "mtime")
_ATTEMPTS = 3
_SETTLED_S = 2.0
"""Times of change count seconds: a file changed this shortly ago may change again unseen."""


def look(url: str) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Return the file system, and what it says of each file by its path in the folder.

    A URL of a single file has one, called "".
    """
    import fsspec

    protocol, _, rest = url.partition("://")
    protocol = protocol.lower()
    if protocol in ("http", "https"):
        _refuse_http_store(url)
        import aiohttp

        # by default a download may take 5 minutes in all
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        system = fsspec.filesystem(
            protocol,
            client_kwargs={"timeout": timeout, "trust_env": True},
            encoded="%" in url,  # a signature may be of the text as it is
        )
        # of one that offers to compress, the size would be that of what is sent
        return system, {"": system.info(url.partition("#")[0])}
    options: dict[str, Any] = {"anon": is_anonymous()} if protocol == "s3" else {}
    system = fsspec.filesystem(protocol, use_listings_cache=False, **options)
    root = system._strip_protocol(f"{protocol}://{rest}").rstrip("/")
    info = system.info(root)
    if info["type"] != "directory":
        members = {"": info}
    else:
        found = system.find(root, detail=True)
        members = {
            _inside(url, root, name): one
            for name, one in found.items()
            if not name.endswith("/") and one["type"] == "file"
        }
        if not members:
            raise FileNotFoundError(root)
    if protocol == "memory":
        for one in members.values():
            one["mtime"] = system.modified(one["name"])
    return system, members


def _refuse_http_store(url: str) -> None:
    path = re.split(r"[?#]", url)[0].partition("://")[2]
    if any(part.lower().endswith(".zarr") for part in path.split("/")[1:]):
        raise ImageError(
            redact_url(url),
            "is a Zarr store, a folder, which http servers cannot list",
            "Download it first and name its path, or name it by s3:// or gs://.",
        )


@lru_cache(maxsize=1)
def is_anonymous() -> bool:
    """Tell whether there are no AWS credentials: public buckets are read without."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is None


def _inside(url: str, root: str, name: str) -> str:
    """Return the path of a member in its folder.

    Raises
    ------
    ImageError
        A name that would lead out of the folder.
    """
    relative = name.removeprefix(root).strip("/")
    strange = any(
        part in ("", ".", "..") or re.search(r"[\\\0]", part) for part in relative.split("/")
    )
    if strange or not name.startswith(root + "/") or re.match("[A-Za-z]:", relative):
        raise ImageError(
            redact_url(url),
            f"the server names a file {redact_url(relative)!r}, which leads out of its folder",
            "Do not use this store; ask who made it.",
        )
    return relative


def identity(members: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a digest of what identifies the content of all files; "" where one has nothing."""
    facts = []
    for relative, info in sorted(members.items()):
        marks = [f"{key}={info[key]}" for key in _STRONG if info.get(key)]
        if not marks:
            dates = [(key, info[key]) for key in _DATES if info.get(key)]
            marks = [f"{key}={date}" for key, date in dates if _settled(date)]
        if not marks:
            return ""
        facts.append([relative, info.get("size"), marks])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _settled(date: Any) -> bool:
    """Tell whether a time of change is long enough ago for a later change to show."""
    if not isinstance(date, str):
        return True  # of a file system, which counts parts of a second
    try:
        return parsedate_to_datetime(date).timestamp() < time.time() - _SETTLED_S
    except ValueError:
        return False


def download(url: str, system: Any, members: Mapping[str, Mapping[str, Any]], copy: Path) -> None:
    """Download a file or folder; a download that breaks is tried again.

    Raises
    ------
    ImageError
        It did not come, or not as long as was announced.
    OSError
        It cannot be written.
    """
    sources = [info["name"] for info in members.values()]
    targets = [copy / relative if relative else copy for relative in members]
    for folder in {target.parent for target in targets}:
        folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if len(members) == 1:
                system.get_file(sources[0], str(targets[0]))
            else:
                system.get(sources, [str(target) for target in targets])
            _check_sizes(members, targets)
            return
        except Exception as error:  # each protocol's library has exceptions of its own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            lasting = any(
                isinstance(one, (FileNotFoundError, PermissionError))
                or 400 <= (status_of(one) or 0) < 500
                for one in chain(error)
            )
            if lasting or attempt == _ATTEMPTS:
                raise explained(url, error) from None  # its text may hold the password
            time.sleep(0.2 * 2**attempt)


def _check_sizes(members: Mapping[str, Mapping[str, Any]], targets: Iterable[Path]) -> None:
    for info, target in zip(members.values(), targets, strict=True):
        announced, came = info.get("size"), target.stat().st_size if target.is_file() else 0
        if announced is not None and came < announced:
            raise ShortError(f"{came} bytes came, {announced} were announced")
