"""Open an image: choose its reader, select scene, time point and level, and find channels.

bioio reads the pixels. Its own choice of a reader is not used: it tries several readers for a plain
TIFF and logs a warning for each.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cytoloop.errors import ImageError
from cytoloop.io.readers.formats import find_format


@contextmanager
def wrap_read_errors(path: str | Path) -> Iterator[None]:
    """Turn any exception of a reader into an `ImageError` that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # each of bioio's readers has its own exceptions
        raise ImageError(
            str(path),
            f"cannot be read: {_first_line(error)}",
            "Open it in Fiji to check that it is complete; export it again, or remove its row.",
        ) from error


def open_scene(
    path: str | Path, scene: str | int | None = None, time: int = 0, level: int = 0
) -> Any:
    """Return an opened ``bioio.BioImage`` with the scene and the pyramid level selected.

    The reader follows from `cytoloop.io.readers.formats.FORMATS`.

    Raises
    ------
    ImageError
        The file is missing or empty, or has no such scene, time point or level.
    """
    file = Path(path)
    if not file.exists():
        raise ImageError(str(path), "no such file", "Check the path.")
    if file.is_file() and file.stat().st_size == 0:
        raise ImageError(str(path), "the file is empty (0 bytes)", "Copy or export it again.")
    from bioio import BioImage

    bio = BioImage(file, reader=_find_reader(file))
    if scene is not None:
        known = [str(name) for name in bio.scenes]
        text = str(scene)
        if text not in known and not (text.isdigit() and int(text) < len(known)):
            raise ImageError(
                str(path), f"has no scene {scene!r}", f"Its scenes are {', '.join(known)}."
            )
        bio.set_scene(text if text in known else int(text))
    if level:
        if level not in bio.resolution_levels:
            raise ImageError(
                str(path), f"has no level {level}", f"It has {len(bio.resolution_levels)}, from 0."
            )
        bio.set_resolution_level(level)
    count = int(bio.dims["T"][0])
    if not 0 <= time < count:
        raise ImageError(str(path), f"has no time point {time}", f"It has {count}, counted from 0.")
    return bio


def _find_reader(path: Path) -> Any:
    """Return the bioio reader class for a file; None lets bioio choose.

    Raises
    ------
    ImageError
        The package of the reader is not installed.
    """
    entry = find_format(path)
    if entry is None:
        return None
    try:
        return importlib.import_module(entry.module).Reader
    except ImportError as error:
        if not entry.install:
            raise
        raise ImageError(
            str(path),
            f"cannot be read: {path.suffix.lower()} needs a package that is not installed "
            f"({error.name})",
            f"Install it: pip install '{entry.install}'",
        ) from error


def is_rgb(bio: Any) -> bool:
    """Return whether the channels of an image are the samples (S) of an RGB image."""
    return "S" in bio.dims.order and int(bio.dims["C"][0]) == 1


def channel_names(bio: Any) -> list[str]:
    """Return a name for each channel; its number if the file names no channels."""
    if is_rgb(bio):
        return [f"sample {i}" for i in range(int(bio.dims["S"][0]))]
    names = [str(name) for name in (bio.channel_names or [])]
    count = int(bio.dims["C"][0])  # bioio gives an OME-Zarr without names one name
    return names if len(names) == count else [str(i) for i in range(count)]


def channel_numbers(
    path: str | Path, bio: Any, channel: str | int | list[str | int] | None
) -> tuple[list[str], list[int]]:
    """Return the names of all channels, and the numbers of the requested channels.

    Raises
    ------
    ImageError
        The image has no such channel.
    """
    names = channel_names(bio)
    if channel is None:
        return names, list(range(len(names)))
    requested = list(channel) if isinstance(channel, (list, tuple)) else [channel]
    numbers = []
    for item in requested:
        text = str(item).strip()
        if text in names:
            numbers.append(names.index(text))
        elif re.fullmatch(r"\d+", text) and int(text) < len(names):
            numbers.append(int(text))
        else:
            listing = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
            raise ImageError(str(path), f"has no channel {item!r}", f"Its channels are {listing}.")
    return names, numbers


def _first_line(error: Exception) -> str:
    """Return the first line of an error message, at most 160 characters."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
