"""The axes of an image: what a file states, what the user states, what is guessed, what is refused.

Letters: T time, C channel, S samples of a colour, Z, Y, X space. Any other letter is an axis whose
meaning is unknown here, such as H, the phases of a CZI; `UNKNOWN` is an axis without a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cytoloop.errors import ImageError
from cytoloop.io.notes import note

KNOWN = "TCSZYX"
UNKNOWN = "Q"
_COLOURS = 3
_MOST_CHANNELS = 4
"""An image at most this wide, with more rows or planes than 16, has channels in its last axis."""


_MEANINGS = {
    1: ("C", "T", "Z"),
    2: ("TZ", "ZC", "CZ", "TC"),
    3: ("TZC", "TCZ", "CZT"),
}
"""Usual meanings of so many unnamed axes."""


def name_axes(
    path: str | Path, shape: Sequence[int], stated: str, requested: str | None = None
) -> str:
    """Return a letter of `KNOWN` for each axis, ``-`` for an axis of length 1 without a meaning.

    Every axis longer than 1 is named by the user, by the file, or by a guess that is warned of;
    else the image is refused.

    Parameters
    ----------
    path : str or Path
        For errors and warnings.
    shape : sequence of int
    stated : str
        One letter for each axis, as the file states it.
    requested : str, optional
        The axes as the user states them: of all axes, or of those longer than 1. C and T may
        repeat: such axes become one. With a ``?`` at the end they count only where the file leaves
        an axis unnamed.

    Raises
    ------
    ImageError
        An axis longer than 1 without a known meaning, or `requested` does not fit.
    """
    if requested and requested.endswith("?"):
        long = [axis for axis, n in zip(stated, shape, strict=True) if n > 1]
        requested = _fitting(requested[:-1], shape) if UNKNOWN in long else None
    if requested:
        return _requested_axes(path, shape, stated, requested)
    named = [axis if n > 1 or axis in "YX" else "-" for axis, n in zip(stated, shape, strict=True)]
    unknown = [i for i, axis in enumerate(named) if axis == UNKNOWN]
    if len(unknown) == 1 and "Z" not in named:
        _refuse_guess(path, shape, stated, unknown[0])
        named[unknown[0]] = "Z"
        size = " x ".join(map(str, shape))
        note(
            path,
            f"states no axes: its {shape[unknown[0]]} planes ({size}) are read as a z-stack. "
            "Set axes=TYX for a movie, axes=CYX for channels",
            once_for_all="guessed axes",
        )
    wrong = [i for i, axis in enumerate(named) if axis not in (*KNOWN, "-")]
    if wrong:
        names = ", ".join(f"{named[i]} ({shape[i]})" for i in wrong)
        _refuse(path, shape, stated, f"has axes of unknown meaning: {names}")
    if not {"Y", "X"} <= set(named):
        _refuse(path, shape, stated, "has no two axes Y and X")
    for axis in "ZYX":
        if named.count(axis) > 1:
            _refuse(path, shape, stated, f"has {named.count(axis)} axes {axis}")
    return "".join(named)


def _requested_axes(path: str | Path, shape: Sequence[int], stated: str, requested: str) -> str:
    letters = requested.strip().upper()
    wrong = sorted(set(letters) - set(KNOWN))
    if wrong or any(letters.count(a) != 1 for a in "YX") or letters.count("Z") > 1:
        raise ImageError(
            str(path),
            f"axes={requested}: expected letters of {KNOWN}, with Y and X once",
            "For example axes=TYX for a movie, axes=ZCYX for a stack with channels.",
        )
    if len(letters) == len(shape):
        return letters
    long = [i for i, n in enumerate(shape) if n > 1]
    if len(letters) == len(long):
        named = ["-"] * len(shape)
        for i, letter in zip(long, letters, strict=True):
            named[i] = letter
        return "".join(named)
    raise ImageError(
        str(path),
        f"axes={requested} names {len(letters)} axes, but the file has {len(shape)}: "
        f"{_describe(shape, stated)}",
        "Name each axis that is longer than 1, in the order of the file.",
    )


def _fitting(requested: str, shape: Sequence[int]) -> str | None:
    """Return the axes, without channels if need be, where their number fits a shape."""
    long = sum(n > 1 for n in shape)
    candidates = (requested, "".join(a for a in requested if a.upper() not in "CS"))
    return next((axes for axes in candidates if len(axes) in (len(shape), long)), None)


def _refuse_guess(path: str | Path, shape: Sequence[int], stated: str, unknown: int) -> None:
    """Refuse to take an unnamed axis for Z where it is more likely something else."""
    if shape[unknown] <= _COLOURS:
        _refuse(path, shape, stated, f"states no axes: {shape[unknown]} planes may be channels")
    spatial = [n for axis, n in zip(stated, shape, strict=True) if axis in "YX"]
    if min(spatial) <= _MOST_CHANNELS < 16 < max(*spatial, shape[unknown]) and "C" not in stated:
        _refuse(
            path,
            shape,
            stated,
            f"states no axes: an image {min(spatial)} pixels wide may be channels",
        )


def _refuse(path: str | Path, shape: Sequence[int], stated: str, problem: str) -> None:
    long = "".join(a if a in "ZYX" else "?" for a, n in zip(stated, shape, strict=True) if n > 1)
    free = long.count("?")
    candidates = _MEANINGS.get(free, ()) if "Z" not in long else ("C", "T", "TC")
    choices = [
        "".join(meaning[long[:i].count("?")] if a == "?" else a for i, a in enumerate(long))
        for meaning in candidates
        if len(meaning) == free
    ]
    if stated.startswith(UNKNOWN) and shape[-1] <= _MOST_CHANNELS and free == 1:
        choices.insert(0, "YXC")
    raise ImageError(
        str(path),
        f"{problem}; the file has {_describe(shape, stated)}",
        f"Name the axes longer than 1: axes={' or axes='.join(choices or ['ZYX'])} "
        "(C channels, T time).",
    )


def _describe(shape: Sequence[int], stated: str) -> str:
    names = ((a if a != UNKNOWN else "?", n) for a, n in zip(stated, shape, strict=True))
    return ", ".join(f"{name}={n}" for name, n in names)
