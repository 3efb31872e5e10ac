"""Files on servers: a URL stands for a local copy of what is there now.

A copy is kept in a cache folder under the digest of its URL and of what the server says identifies
the content (ETag, version, time of change, size), so a file that changed gets a copy of its own and
whoever reads the former one is not disturbed. The server is asked once in each process.

A URL may come from a manifest of unknown origin: only the protocols named here are followed, and
nothing that a server says can lead out of the cache folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cytoloop.errors import CytoloopError, ImageError, OutputError

PROTOCOLS = ("http", "https", "s3", "gs", "file", "memory")
_PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs"}
_URL = re.compile(r"[A-Za-z][\w+.-]+(::[\w+.-]*)*://")
_USER = re.compile(r"//[^/\s?#]*@")
_BROKEN_USER = re.compile(r"//[^/\s@]*:(?!\d*(?:[/\s?#]|$))\S*")
_STRONG = ("ETag", "etag", "VersionId", "generation", "md5Hash", "crc32c", "Content-MD5", "Digest")
_DATES = ("Last-Modified", "LastModified", "updated", "mtime")
_ATTEMPTS = 3
_RETRY_S = 60.0
"""A failure is told again for so long without asking the server: a table may name it often."""
_SETTLED_S = 2.0
"""Times of change count seconds: a file changed this shortly ago may change again unseen."""
_KEPT_S = 24 * 3600
"""Former copies and broken downloads go after so long: another run may have them in use."""
_FETCHING = ".fetching-"

_known: dict[str, Path | tuple[float, ImageError]] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def is_remote(text: object) -> bool:
    """Tell a URL from a path; URLs of protocols that are refused are URLs too.

    >>> is_remote("s3://bucket/a.tif"), is_remote("C:/a.tif")
    (True, False)
    """
    return isinstance(text, str) and _URL.match(text) is not None


def refusal(url: str) -> str | None:
    """Return why a URL is not followed, None where it is."""
    protocol = _protocol(url)
    if "::" in url:
        return "is a chain of URLs (::), which is not followed"
    if protocol not in PROTOCOLS:
        return f"protocol {protocol!r} is not followed; expected {', '.join(PROTOCOLS)}"
    if protocol in ("s3", "gs") and _USER.search(url):
        return "holds a user name; give credentials as the server's own tools take them"
    return None


def shown(text: str) -> str:
    """Return a URL, or a text with URLs, without users, passwords and queries (they may be keys).

    >>> shown("https://ann:secret@host/a.tif?token=1")
    'https://host/a.tif?...'
    """
    text = _BROKEN_USER.sub("//***", _USER.sub("//", text))
    return re.sub(r"(//[^\s?]*)\?\S+", r"\1?...", text)


def plain_path(text: str | Path) -> str:
    """Return the path within a URL, for what is read off file names; a path as it is.

    Over http what follows the name of an image is left out: some archives have URLs such as
    ``.../files/img.tif/content``.

    >>> plain_path("https://host/plate%201/a.tif?download=1")
    'plate 1/a.tif'
    """
    if not isinstance(text, str) or not is_remote(text):
        return str(text)
    path = _USER.sub("//", text).partition("://")[2]
    if _protocol(text) not in ("http", "https"):
        return path.strip("/")
    from cytoloop.images.files import SUFFIXES

    parts = unquote(re.split(r"[?#]", path)[0].partition("/")[2]).strip("/").split("/")
    images = [i for i, part in enumerate(parts) if part.lower().endswith(SUFFIXES)]
    return "/".join(parts[: images[-1] + 1] if images else parts)


def local(text: str | Path) -> Path:
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
    problem = refusal(url)
    if problem is not None:
        raise ImageError(shown(url), problem, "Download the file and name its path.")
    if _protocol(url) == "file":
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
    urls = [url for url in dict.fromkeys(names) if is_remote(url) and _protocol(url) != "file"]
    if not urls:
        return
    from cytoloop.parallel import progress_bar

    with progress_bar("fetching", len(urls), progress) as advance, ThreadPoolExecutor(8) as pool:
        for _ in pool.map(_fetch_quietly, urls):
            advance()


def forget() -> None:
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


def _protocol(url: str) -> str:
    return url.partition(":")[0].lower()


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
            shown(url), f"names the machine {host!r}", "Expected file:///absolute/path."
        )
    text = rest if re.match(r"[A-Za-z]:", rest) else f"/{rest}"
    path = Path(text)
    return path if path.exists() else Path(unquote(text))


def _fetch(url: str) -> Path:
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:24]
    name = _file_name(url)
    try:
        system, members = _look(url)
    except CytoloopError:
        raise
    except Exception as error:  # each protocol's library has exceptions of its own
        raise _told(url, error) from None  # its text may hold the password
    version = _identity(members)
    if version and (folder / version / name).exists():
        _mark_used(folder / version)
        return folder / version / name
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_FETCHING))
        _download(url, system, members, temporary / name)
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
    from cytoloop.images.files import safe_name, stem

    name = Path(plain_path(url)).name
    own = stem(name)
    ending = re.sub(r"[^\w.]", "_", name[len(own) :])[:20]
    return (safe_name(own)[:100].rstrip(". ") or "image") + ending


def _look(url: str) -> tuple[Any, dict[str, dict[str, Any]]]:
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
    options: dict[str, Any] = {"anon": _is_anonymous()} if protocol == "s3" else {}
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
            shown(url),
            "is a Zarr store, a folder, which http servers cannot list",
            "Download it first and name its path, or name it by s3:// or gs://.",
        )


@lru_cache(maxsize=1)
def _is_anonymous() -> bool:
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
            shown(url),
            f"the server names a file {shown(relative)!r}, which leads out of its folder",
            "Do not use this store; ask who made it.",
        )
    return relative


def _identity(members: Mapping[str, Mapping[str, Any]]) -> str:
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


def _download(url: str, system: Any, members: Mapping[str, Mapping[str, Any]], copy: Path) -> None:
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
                or 400 <= (_status(one) or 0) < 500
                for one in _chain(error)
            )
            if lasting or attempt == _ATTEMPTS:
                raise _told(url, error) from None  # its text may hold the password
            time.sleep(0.2 * 2**attempt)


class _ShortError(Exception):
    """Less came than was announced."""


def _check_sizes(members: Mapping[str, Mapping[str, Any]], targets: Iterable[Path]) -> None:
    for info, target in zip(members.values(), targets, strict=True):
        announced, came = info.get("size"), target.stat().st_size if target.is_file() else 0
        if announced is not None and came < announced:
            raise _ShortError(f"{came} bytes came, {announced} were announced")


def _hash(copy: Path) -> str:
    from cytoloop.digest import file_hash

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


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _told(url: str, error: Exception) -> ImageError:
    """Return what is said of a library's error, without the URL's secrets."""
    for one in reversed(list(_chain(error))):
        told = _cause(url, one)
        if told is not None:
            return ImageError(shown(url), *told)
    text = (str(error).strip().splitlines() or [""])[0][:160]
    return ImageError(
        shown(url),
        f"cannot be fetched: {type(error).__name__}: {shown(text)}",
        "Try again, or download the file and name its path.",
    )


def _cause(url: str, error: BaseException) -> tuple[str, str] | None:
    """Return what an error means and how to repair it, None where it is not known."""
    protocol, status, name = _protocol(url), _status(error), type(error).__name__
    if isinstance(error, ImportError):
        package = _PACKAGES.get(protocol, "fsspec")
        return f"{protocol}:// needs the package {package}", f"Install it: pip install {package}"
    if isinstance(error, _ShortError):
        return f"the download broke off: {error}", "Try again, or download it in another way."
    if name in ("ClientPayloadError", "ServerDisconnectedError", "IncompleteReadError"):
        return "the download broke off", "Try again, or download it in another way."
    if status in (401, 403) or isinstance(error, PermissionError) or name == "NoCredentialsError":
        number = f"HTTP {status}: " if status else ""
        where = {
            "s3": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            "gs": "Log in with `gcloud auth application-default login`.",
        }
        return f"{number}no permission", where.get(protocol, "Put a login into ~/.netrc.")
    if status in (404, 410):
        return f"HTTP {status}: nothing is there", "Check the URL."
    if status is not None and status >= 400:
        return f"HTTP {status}", "Try again later, or download the file and name its path."
    if isinstance(error, socket.gaierror) or name == "ClientConnectorDNSError":
        return "the name of the server is not resolved", "Check the URL and the network."
    if isinstance(error, ssl.SSLError):
        return "the server's certificate is not trusted", "Check the URL."
    if isinstance(error, TimeoutError) or "Timeout" in name:
        return "the server does not answer in time", "Try again later."
    if isinstance(error, ConnectionError) or name in (
        "ClientConnectorError",
        "EndpointConnectionError",
    ):
        return "no connection to the server", "Check the URL and the network."
    if isinstance(error, FileNotFoundError):
        return "nothing is there", "Check the URL."
    return None
