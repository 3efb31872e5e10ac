"""The cache folder of remote files: ``CACHE/<digest of the URL>/<version>/<file name>``.

A version is a digest of what the server says about the content (ETag, version, or time and size).
A changed file gets a new folder, so that a process that reads the former copy is not disturbed.

fsspec finds and downloads the files (`cytoloop.io.remote.transfer`). Its caches are not used:
`filecache` and `simplecache` download over a copy that another process may be reading, take a
broken download for a complete file, and copy no folders; for http they never notice that a file
changed, because `HTTPFileSystem.ukey` depends on the URL alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from cytoloop.errors import CytoloopError, ImageError, OutputError
from cytoloop.home import expand_home
from cytoloop.io.digest import file_hash
from cytoloop.io.names import path_in_url, safe_name, stem
from cytoloop.io.remote.errors import explain
from cytoloop.io.remote.transfer import content_version, download, list_files
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote, protocol_of, refusal_reason

_RETRY_S = 60.0
"""Seconds for which a failure is repeated without a request: a table may name a URL often."""
_UNUSED_S = 24 * 3600
"""Age at which former copies and broken downloads are deleted; another run may still use them."""
_THREADS = 8
"""Downloads at a time in `fetch_all`."""

_results: dict[str, Path | tuple[float, ImageError]] = {}
_locks: dict[str, threading.Lock] = {}


def local_path(text: str | Path) -> Path:
    """Return the local path of a file that is given by path or URL; see `fetch`."""
    return fetch(text) if isinstance(text, str) and is_remote(text) else Path(text)


def fetch(url: str) -> Path:
    """Return a local copy of a remote file or folder; download it if the cache lacks this version.

    Each process sends one request per URL: later calls return the same path.

    Parameters
    ----------
    url : str
        URL with one of `cytoloop.urls.PROTOCOLS`. ``file://`` returns the file itself. A folder
        (OME-Zarr) is copied whole; http servers cannot list a folder.

    Returns
    -------
    Path
        The copy, with the file name of the URL.

    Raises
    ------
    ImageError
        The URL is not followed, or the file cannot be fetched.
    OutputError
        The cache folder cannot be written to.
    """
    reason = refusal_reason(url)
    if reason is not None:
        raise ImageError(redact_url(url), reason, "Download the file and give its path.")
    if protocol_of(url) == "file":
        return _path_of_file_url(url)
    with _locks.setdefault(url, threading.Lock()):
        known = _results.get(url)
        if isinstance(known, Path) and known.exists():
            return known
        if isinstance(known, tuple) and time.monotonic() - known[0] < _RETRY_S:
            raise ImageError(known[1].where, known[1].problems, known[1].repair)
        try:
            path = _fetch_version(url)
        except ImageError as error:
            _results[url] = (time.monotonic(), error)
            raise
        _results[url] = path
        return path


def fetch_all(locations: Iterable[str], progress: bool = False) -> None:
    """Fetch several URLs in parallel, before they are read one by one.

    Failures are not raised here: `fetch` raises them when the file is needed.

    Parameters
    ----------
    locations : iterable of str
        URLs and paths; paths are skipped.
    progress : bool
        Show a progress bar on the terminal.
    """
    urls = [u for u in dict.fromkeys(locations) if is_remote(u) and protocol_of(u) != "file"]
    if not urls:
        return
    from cytoloop.terminal import progress_bar

    def fetch_quietly(url: str) -> None:
        with suppress(CytoloopError):
            fetch(url)

    with (
        progress_bar("fetching", len(urls), progress) as advance,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for _ in pool.map(fetch_quietly, urls):
            advance()


def forget_fetched() -> None:
    """Forget the results of this process, so that `fetch` sends requests again."""
    _results.clear()


def cache_folder() -> Path:
    """Return the cache folder: ``$CYTOLOOP_CACHE``, else one in the user's cache folder."""
    given = os.environ.get("CYTOLOOP_CACHE")
    if given:
        return expand_home(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "cytoloop"


def _path_of_file_url(url: str) -> Path:
    """Return the path in a ``file://`` URL; percent signs are decoded if no such file exists.

    Raises
    ------
    ImageError
        The URL names another machine.
    """
    host, _, rest = url.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise ImageError(
            redact_url(url), f"names the machine {host!r}", "Expected file:///absolute/path."
        )
    text = rest if re.match(r"[A-Za-z]:", rest) else f"/{rest}"
    path = Path(text)
    return path if path.exists() else Path(unquote(text))


def _fetch_version(url: str) -> Path:
    """Return the copy of the present version of a URL, from the cache or from the server."""
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:24]
    name = _file_name(url)
    try:
        system, files = list_files(url)
    except ImageError:
        raise
    except Exception as error:  # each protocol's library has its own exceptions
        raise explain(url, error) from None  # the original message may hold a password
    version = content_version(files)
    if version and (folder / version / name).exists():
        with suppress(OSError):  # the cache may be read-only
            os.utime(folder / version)
        return folder / version / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(
            dir=folder, prefix=".fetching-", ignore_cleanup_errors=True
        ) as temporary:
            copy = Path(temporary) / "copy"
            download(url, system, files, copy / name)
            kept = folder / (version or file_hash(copy / name)[:24])
            try:
                copy.rename(kept)  # atomic: other processes see the whole copy or none
            except OSError:
                if not (kept / name).exists():  # another process may have been faster
                    raise
        with suppress(OSError):
            os.utime(kept)
    except OSError as error:
        raise OutputError(
            str(cache_folder()),
            f"cannot be written to: {error.strerror or error}",
            "Free disk space, or set CYTOLOOP_CACHE to another folder.",
        ) from error
    _delete_unused(folder, kept)
    return kept / name


def _file_name(url: str) -> str:
    """Return the file name of a copy: the name in the URL, made safe for any file system."""
    name = Path(path_in_url(url)).name
    base = stem(name)
    suffix = re.sub(r"[^\w.]", "_", name[len(base) :])[:20]
    return (safe_name(base)[:100].rstrip(". ") or "image") + suffix


def _delete_unused(folder: Path, kept: Path) -> None:
    """Delete former copies of a URL, and downloads of processes that were killed."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process may have deleted it
            if path != kept and path.stat().st_mtime < time.time() - _UNUSED_S:
                shutil.rmtree(path, ignore_errors=True)
