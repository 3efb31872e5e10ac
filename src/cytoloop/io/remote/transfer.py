"""Remote files through fsspec: list them, identify their version, download them."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cytoloop.errors import ImageError
from cytoloop.io.remote.errors import IncompleteDownloadError, explain, is_permanent
from cytoloop.redact import redact_url

Files = Mapping[str, Mapping[str, Any]]
"""fsspec's `info` of each file, by its path in the folder; "" is a single file."""

_CONTENT_KEYS = (
    *("ETag", "Content-MD5", "Digest"),  # http; s3 has ETag too
    *("VersionId", "etag", "generation", "md5Hash", "crc32c"),  # s3, gs
)
"""Entries of `info` that change with the content; names differ between protocols."""
_TIME_KEYS = ("Last-Modified", "LastModified", "updated", "mtime")
_ATTEMPTS = 3
_TIME_RESOLUTION_S = 2.0
"""http states times in seconds: a file may change again within this time without a new time."""


def list_files(url: str) -> tuple[Any, Files]:
    """Return the fsspec file system of a URL, and the `info` of each of its files.

    Raises
    ------
    ImageError
        An http URL of a Zarr store, or a server that lists unsafe names.
    Exception
        What the protocol's library raises, for example if the file does not exist.
    """
    from fsspec.core import url_to_fs

    protocol, _, rest = url.partition("://")
    protocol = protocol.lower()
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in ("http", "https"):
        import aiohttp

        rest = rest.partition("#")[0]
        if ".zarr/" in rest.partition("?")[0].partition("/")[2].lower() + "/":
            raise ImageError(
                redact_url(url),
                "is a Zarr store, a folder, which http servers cannot list",
                "Download it and give its path, or use s3:// or gs://.",
            )
        # aiohttp stops a download after 5 minutes by default
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
        options["encoded"] = "%" in url  # a signed URL must be sent unchanged
    elif protocol == "s3":
        options["anon"] = has_no_aws_credentials()
    system, root = url_to_fs(f"{protocol}://{rest}", **options)
    info = system.info(root)
    if info["type"] != "directory":
        files = {"": info}
    else:
        files = {
            _path_in_folder(url, root.rstrip("/"), name): member
            for name, member in system.find(root, detail=True).items()
            if not name.endswith("/") and member["type"] == "file"
        }
        if not files:
            raise FileNotFoundError(root)
    if protocol == "memory":
        for member in files.values():
            member["mtime"] = system.modified(member["name"])
    return system, files


@lru_cache(maxsize=1)
def has_no_aws_credentials() -> bool:
    """Return whether no AWS credentials are set; public buckets are then read anonymously."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is None


def _path_in_folder(url: str, root: str, name: str) -> str:
    """Return the path of a member relative to its folder.

    Raises
    ------
    ImageError
        The name would lead out of the folder.
    """
    relative = name.removeprefix(root).strip("/")
    unsafe = any(
        part in ("", ".", "..") or re.search(r"[\\\0]", part) for part in relative.split("/")
    )
    if unsafe or not name.startswith(root + "/") or re.match("[A-Za-z]:", relative):
        raise ImageError(
            redact_url(url),
            f"the server lists a file {redact_url(relative)!r}, which leads out of its folder",
            "Do not use this store; ask its owner.",
        )
    return relative


def content_version(files: Files) -> str:
    """Return a digest that changes with the content of the files; "" if unknown.

    An ETag, a version or a checksum identifies the content; otherwise time and size do, if the
    time is older than its resolution.
    """
    facts = []
    for path, info in sorted(files.items()):
        marks = [f"{key}={info[key]}" for key in _CONTENT_KEYS if info.get(key)]
        if not marks:
            stated = {key: info[key] for key in _TIME_KEYS if info.get(key)}
            marks = [f"{key}={value}" for key, value in stated.items() if _is_settled(value)]
        if not marks:
            return ""
        facts.append([path, info.get("size"), marks])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _is_settled(changed: Any) -> bool:
    """Return whether another change of the file would give another time of change."""
    if not isinstance(changed, str):
        return True  # a datetime with fractions of a second
    try:
        return parsedate_to_datetime(changed).timestamp() < time.time() - _TIME_RESOLUTION_S
    except ValueError:
        return False


def download(url: str, system: Any, files: Files, copy: Path) -> None:
    """Download a file or folder; a broken download is repeated, three attempts in all.

    Raises
    ------
    ImageError
        The download failed, or is shorter than the server stated.
    OSError
        The disk is full.
    """
    sources = [info["name"] for info in files.values()]
    targets = [str(copy / path if path else copy) for path in files]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            system.get(sources, targets)
            _check_sizes(files, targets)
            return
        except Exception as error:  # each protocol's library has its own exceptions
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            if attempt == _ATTEMPTS or is_permanent(error):
                raise explain(url, error) from None  # the original message may hold a password
            time.sleep(0.2 * 2**attempt)


def _check_sizes(files: Files, targets: list[str]) -> None:
    for info, target in zip(files.values(), map(Path, targets), strict=True):
        expected, received = info.get("size"), target.stat().st_size if target.is_file() else 0
        if expected is not None and received < expected:
            raise IncompleteDownloadError(f"received {received} of {expected} bytes")
