"""Warnings about the image that is being read: logged once, and kept for the table of the verb.

A reader calls `note`. `collect_notes` returns what was noted inside its block. What a library logs
while it reads, which would pass unseen, becomes a note as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

log = logging.getLogger(__name__)

_collectors: ContextVar[tuple[list[str], ...]] = ContextVar("collectors", default=())
_library_messages: ContextVar[list[str] | None] = ContextVar("library_messages", default=None)
_logged: set[str] = set()
_silent: ContextVar[bool] = ContextVar("silent", default=False)
_LIBRARIES = ("tifffile",)


def note(path: str | Path, text: str, once_for_all: str = "") -> None:
    """Log a warning about an image, once in this process, and keep it for `collect_notes`.

    Parameters
    ----------
    path : str or Path
    text : str
        What was found and what is assumed.
    once_for_all : str
        A name of the warning: it is logged for the first image only, and kept for each.
    """
    if _silent.get():
        return
    for collected in _collectors.get():
        if text not in collected:
            collected.append(text)
    key = once_for_all or f"{path}: {text}"
    if key not in _logged:
        _logged.add(key)
        log.warning("%s: %s", path, text)


def forget_notes() -> None:
    """Log warnings again that were logged before: a new command begins."""
    _logged.clear()


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Yield a list that receives the warnings about images that are read inside the block."""
    collected: list[str] = []
    token = _collectors.set((*_collectors.get(), collected))
    try:
        yield collected
    finally:
        _collectors.reset(token)


@contextmanager
def without_notes() -> Iterator[None]:
    """Drop what is noted inside the block: it looks at parts of an image that is read later."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@contextmanager
def library_messages() -> Iterator[list[str]]:
    """Yield a list that receives what libraries log as warnings or errors inside the block."""
    for name in _LIBRARIES:
        _route(name)
    messages: list[str] = []
    token = _library_messages.set(messages)
    try:
        yield messages
    finally:
        _library_messages.reset(token)


def _route(name: str) -> None:
    library = logging.getLogger(name)
    if not any(isinstance(handler, _Handler) for handler in library.handlers):
        library.addHandler(_Handler(logging.WARNING))
        library.propagate = False


class _Handler(logging.Handler):
    """Keeps a library's message for the block that reads, else logs it as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        messages = _library_messages.get()
        if messages is None:
            log.warning("%s", record.getMessage())
        else:
            messages.append(record.getMessage())
