"""Where the time of a prediction goes, and what to do if it is not the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

NETWORK, READING, OBJECTS = "network", "reading and preparing", "objects and files"
WORTH_TELLING_S = 60.0
"""Shorter predictions are not worth a message."""
PLANNED_SHARE = 0.5
"""Part of the time that the network is planned to take at least: images are read while it works,
and objects of the usual images take a tenth of its time."""
_REPAIRS = {
    READING: "Copy compressed or remote images to this machine, or store them as OME-Zarr; clip "
    "and local_contrast of a preparation read an image once more.",
    OBJECTS: "Leave out outputs that you do not need (save=[labels]), or cut objects later on "
    "another machine (save=[probability], then reprocess=FOLDER).",
}
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


_CURRENT: ContextVar[dict[str, float] | None] = ContextVar("stopwatch", default=None)


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure the parts of a block; yield their seconds, which `measure` adds up."""
    seconds: dict[str, float] = {}
    token = _CURRENT.set(seconds)
    try:
        yield seconds
    finally:
        _CURRENT.reset(token)


@contextmanager
def measure(part: str) -> Iterator[None]:
    """Add the seconds of a block to a part, without those of parts that are measured inside.

    Without a `stopwatch` in this thread nothing is measured.
    """
    seconds = _CURRENT.get()
    if seconds is None:
        yield
        return
    started, before = time.perf_counter(), sum(seconds.values())
    try:
        yield
    finally:
        spent = time.perf_counter() - started - (sum(seconds.values()) - before)
        seconds[part] = seconds.get(part, 0.0) + spent


def timed(part: str, function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Return a function whose calls are measured."""

    def call(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        with measure(part):
            return function(*args, **kwargs)

    return call


def slow_part(seconds: Mapping[str, float]) -> str | None:
    """Return what takes longer than planned, and what to do; None if it is the network's time.

    Parameters
    ----------
    seconds : mapping of str to float
        By part, see `stopwatch`.
    """
    total = sum(seconds.values())
    if total < WORTH_TELLING_S or seconds.get(NETWORK, 0.0) >= PLANNED_SHARE * total:
        return None
    slowest = max((part for part in seconds if part != NETWORK), key=lambda part: seconds[part])
    listed = ", ".join(
        f"{part} {value:.0f} s" for part, value in sorted(seconds.items(), key=lambda one: -one[1])
    )
    return f"{total:.0f} s, slower than the network alone: {listed}. {_REPAIRS[slowest]}"
