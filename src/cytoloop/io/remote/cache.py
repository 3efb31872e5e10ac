"""Local copies of what URLs name, in a cache folder; the server is asked once in each process."""

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
from pathlib import Path
from urllib.parse import unquote

from cytoloop.errors import CytoloopError, ImageError, OutputError
from cytoloop.io.digest import file_hash
from cytoloop.io.names import path_in_url, safe_name, stem
from cytoloop.io.remote.errors import explained
from cytoloop.io.remote.transfer import download, identity, look
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote, protocol_of, refusal_reason

_RETRY_S = 60.0
"""A failure is told again for so long without asking the server: a table may name it often."""
_KEPT_S = 24 * 3600
"""Former copies and broken downloads go after so long: another run may have them in use."""
_FETCHING = ".fetching-"

_known: dict[str, Path | tuple[float, ImageError]] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def local_path(text: str | Path) -> Path:
    """Return the path of a file that is named by a path or a URL; see `fetch`."""
    return fetch(text) if isinstance(text, str) and is_remote(text) else Path(text)


def fetch(url: str) -> Path:
    """Return a local copy of what a URL names, downloaded if there is none of today's content.

    Parameters
    ----------
    url : str
        Of one of `PROTOCOLS`. ``file://`` is the file itself. A folder (OME-Zarr) is copied
        whole; http servers cannot list one.

    Returns
    -------
    Path
        With the file name that the URL has. The answer is kept for this process.

    Raises
    ------
    ImageError
        A URL that is not followed, or that leads nowhere.
    OutputError
        The cache folder cannot be written to.
    """
    problem = refusal_reason(url)
    if problem is not None:
        raise ImageError(redact_url(url), problem, "Download the file and name its path.")
    if protocol_of(url) == "file":
        return _own_file(url)
    with _guard:
        lock = _locks.setdefault(url, threading.Lock())
    with lock:
        known = _known.get(url)
        if isinstance(known, Path) and known.exists():
            return known
        if isinstance(known, tuple) and time.monotonic() - known[0] < _RETRY_S:
            raise ImageError(known[1].where, known[1].problems, known[1].repair)
        try:
            path = _fetch(url)
        except ImageError as error:
            _known[url] = (time.monotonic(), error)
            raise
        _known[url] = path
        return path


def fetch_all(names: Iterable[str], progress: bool = False) -> None:
    """Fetch URLs side by side, before they are read one by one; paths among them are passed over.

    Nothing is raised: whoever asks for a file is told what is wrong with it.

    Parameters
    ----------
    names : iterable of str
    progress : bool
        Show a bar on the terminal.
    """
    urls = [url for url in dict.fromkeys(names) if is_remote(url) and protocol_of(url) != "file"]
    if not urls:
        return
    from cytoloop.terminal import progress_bar

    with progress_bar("fetching", len(urls), progress) as advance, ThreadPoolExecutor(8) as pool:
        for _ in pool.map(_fetch_quietly, urls):
            advance()


def forget_fetched() -> None:
    """Forget what this process knows, so that servers are asked again."""
    with _guard:
        _known.clear()


def cache_folder() -> Path:
    """Return the folder of the copies: ``$CYTOLOOP_CACHE``, else the user's cache folder."""
    given = os.environ.get("CYTOLOOP_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "cytoloop"


def _fetch_quietly(url: str) -> None:
    try:
        fetch(url)
    except CytoloopError:
        return


def _own_file(url: str) -> Path:
    """Return the path that a ``file://`` URL names, percent signs decoded unless it is so called.

    Raises
    ------
    ImageError
        It is of another machine.
    """
    host, _, rest = url.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise ImageError(
            redact_url(url), f"names the machine {host!r}", "Expected file:///absolute/path."
        )
    text = rest if re.match(r"[A-Za-z]:", rest) else f"/{rest}"
    path = Path(text)
    return path if path.exists() else Path(unquote(text))


def _fetch(url: str) -> Path:
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:24]
    name = _file_name(url)
    try:
        system, members = look(url)
    except CytoloopError:
        raise
    except Exception as error:  # each protocol's library has exceptions of its own
        raise explained(url, error) from None  # its text may hold the password
    version = identity(members)
    if version and (folder / version / name).exists():
        _mark_used(folder / version)
        return folder / version / name
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_FETCHING))
        download(url, system, members, temporary / name)
        version = version or _hash(temporary / name)
        final = folder / version
        try:
            temporary.rename(final)  # at once: nobody sees half a copy
        except OSError:
            if not (final / name).exists():  # else another run was faster, or the content is as was
                raise
        _mark_used(final)
    except OSError as error:
        raise OutputError(
            str(cache_folder()),
            f"cannot be written to: {error.strerror or error}",
            "Free disk space, or name another folder for copies in CYTOLOOP_CACHE.",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    _remove_former(folder, final)
    return final / name


def _file_name(url: str) -> str:
    """Return the name of the copy: that of the URL, its ending kept, fit for any file system."""
    name = Path(path_in_url(url)).name
    own = stem(name)
    ending = re.sub(r"[^\w.]", "_", name[len(own) :])[:20]
    return (safe_name(own)[:100].rstrip(". ") or "image") + ending


def _hash(copy: Path) -> str:
    return file_hash(copy)[:24]


def _mark_used(version: Path) -> None:
    try:
        os.utime(version)
    except OSError:
        return  # a cache that is only read


def _remove_former(folder: Path, kept: Path) -> None:
    """Remove what a URL held before, and downloads of runs that were killed."""
    for path in folder.iterdir():
        try:
            if path != kept and path.stat().st_mtime < time.time() - _KEPT_S:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue  # removed by another run
