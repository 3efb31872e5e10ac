"""Errors of fsspec's protocol libraries in plain words, with a repair."""

from __future__ import annotations

from collections.abc import Iterator

from cytoloop.errors import ImageError
from cytoloop.redact import redact_url
from cytoloop.urls import protocol_of

_PACKAGES = {
    "http": ("aiohttp", "cloud"),
    "https": ("aiohttp", "cloud"),
    "s3": ("s3fs", "cloud"),
    "gs": ("gcsfs", "gs"),
}
"""The package of each protocol, and the extra of CytoLoop that installs it."""
_LOGINS = {
    "s3": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    "gs": "Log in with `gcloud auth application-default login`.",
}
_RETRY = "Try again, or download the file and give its path."
_NETWORK = "Check the URL and the network."
_BROKEN = "the download broke off"
_OFFLINE = "no connection to the server"
_KNOWN = (
    ({"ClientPayloadError", "ServerDisconnectedError", "IncompleteReadError"}, _BROKEN, _RETRY),
    ({"gaierror", "ClientConnectorDNSError"}, "the server name cannot be resolved", _NETWORK),
    ({"SSLError"}, "the server's certificate is not trusted", "Check the URL."),
    (
        {"TimeoutError", "ConnectTimeoutError", "ReadTimeoutError"},
        "the server does not answer in time",
        "Try again later.",
    ),
    ({"ConnectionError", "ClientConnectorError", "EndpointConnectionError"}, _OFFLINE, _NETWORK),
    ({"FileNotFoundError"}, "no such file", "Check the URL."),
)
"""Class names, problem, repair. By name: aiohttp and botocore are imported only when needed."""


class IncompleteDownloadError(Exception):
    """Fewer bytes arrived than the server stated."""


def explain(url: str, error: Exception) -> ImageError:
    """Return an `ImageError` that says what went wrong, without the secrets of the URL."""
    for cause in reversed(list(_causes(error))):
        known = _diagnose(url, cause)
        if known is not None:
            return ImageError(redact_url(url), *known)
    text = (str(error).strip().splitlines() or [""])[0][:160]
    return ImageError(
        redact_url(url), f"cannot be fetched: {type(error).__name__}: {redact_url(text)}", _RETRY
    )


def is_permanent(error: Exception) -> bool:
    """Return whether a second attempt would fail too: missing, forbidden or a wrong request."""
    return any(
        isinstance(cause, (FileNotFoundError, PermissionError))
        or 400 <= (_http_status(cause) or 0) < 500
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _http_status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _diagnose(url: str, error: BaseException) -> tuple[str, str] | None:
    """Return the problem and its repair, None for an unknown error."""
    protocol, status = protocol_of(url), _http_status(error)
    classes = {cls.__name__ for cls in type(error).__mro__}
    http = f"HTTP {status}: " if status else ""
    if isinstance(error, ImportError):
        package, extra = _PACKAGES.get(protocol, (error.name, None))
        install = f"'cytoloop[{extra}]'" if extra else package
        return f"{protocol}:// needs the package {package}", f"Install it: pip install {install}"
    if isinstance(error, IncompleteDownloadError):
        return f"{_BROKEN}: {error}", _RETRY
    if status in (401, 403) or {"PermissionError", "NoCredentialsError"} & classes:
        return f"{http}no permission", _LOGINS.get(protocol, "Put a login into ~/.netrc.")
    if status in (404, 410):
        return f"{http}no such file", "Check the URL."
    if status is not None and status >= 400:
        return f"HTTP {status}", _RETRY
    return next(((problem, repair) for known, problem, repair in _KNOWN if known & classes), None)
