"""What a failure to fetch means, whichever protocol's library says it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from cytoloop.errors import ImageError
from cytoloop.redact import redact_url
from cytoloop.urls import protocol_of

_PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs"}


class ShortError(Exception):
    """Less came than was announced."""


def explained(url: str, error: Exception) -> ImageError:
    """Return what is said of a library's error, without the URL's secrets."""
    for one in reversed(list(chain(error))):
        told = _cause(url, one)
        if told is not None:
            return ImageError(redact_url(url), *told)
    text = (str(error).strip().splitlines() or [""])[0][:160]
    return ImageError(
        redact_url(url),
        f"cannot be fetched: {type(error).__name__}: {redact_url(text)}",
        "Try again, or download the file and name its path.",
    )


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error tells, None where it tells none."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _cause(url: str, error: BaseException) -> tuple[str, str] | None:
    """Return what an error means and how to repair it, None where it is not known."""
    protocol, status, name = protocol_of(url), status_of(error), type(error).__name__
    if isinstance(error, ImportError):
        package = _PACKAGES.get(protocol, "fsspec")
        return f"{protocol}:// needs the package {package}", f"Install it: pip install {package}"
    if isinstance(error, ShortError):
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
