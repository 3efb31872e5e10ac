"""An image file opened: the reader for it, the scene, the channels that are asked for.

bioio reads the pixels. It probes several readers (and complains about each) before it finds the
one for a plain TIFF: here the reader is chosen by what the file is.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from cytoloop.errors import ImageError

_EXTRA = {".nd2": ("bioio_nd2", "cytoloop[nd2]"), ".lif": ("bioio_lif", "bioio-lif")}


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn whatever a reader raises into an `ImageError` that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # each of bioio's readers has exceptions of its own
        raise ImageError(
            str(path),
            f"cannot be read: {_reason(error)}",
            "Open it in Fiji to see whether it is whole; re-export it, or leave it out.",
        ) from error


def open_scene(
    path: str | Path, scene: str | int | None = None, time: int = 0, level: int = 0
) -> Any:
    """Return an opened ``bioio.BioImage``, with the reader chosen by what the file is.

    Raises
    ------
    ImageError
        A missing or empty file, or a scene, time point or level that it does not have.
    """
    file = Path(path)
    if not file.exists():
        raise ImageError(str(path), "no such file", "Check the path.")
    if file.is_file() and file.stat().st_size == 0:
        raise ImageError(str(path), "the file is empty (0 bytes)", "Copy or export it again.")
    from bioio import BioImage

    bio = BioImage(file, reader=_reader(file))
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


def _reader(file: Path) -> Any:
    """Return the bioio reader for a file; None lets bioio choose.

    Raises
    ------
    ImageError
        It is of a package that is not installed.
    """
    suffix = file.suffix.lower()
    if file.is_dir():  # an OME-Zarr, or one of the labels within it, whatever its name
        return importlib.import_module("bioio_ome_zarr").Reader
    if suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(file) as tif:
            name = "bioio_ome_tiff" if tif.is_ome else "bioio_tifffile"
        return importlib.import_module(name).Reader
    if suffix in (".h5", ".hdf5"):
        from cytoloop.io.readers.hdf5 import Hdf5Reader

        return Hdf5Reader
    if suffix == ".czi":
        from cytoloop.io.readers.czi import CziReader

        return CziReader
    if suffix in _EXTRA:
        name, package = _EXTRA[suffix]
        if importlib.util.find_spec(name) is None:
            raise ImageError(
                str(file),
                f"cannot be read: {suffix} needs a package that is not installed",
                f"Install it: pip install '{package}'",
            )
        return importlib.import_module(name).Reader
    return None


def is_rgb(bio: Any) -> bool:
    """Tell whether the samples (S) of a picture stand for its channels."""
    return "S" in bio.dims.order and int(bio.dims["C"][0]) == 1


def channel_names(bio: Any) -> list[str]:
    """Return a name for each channel: its number where the file has none."""
    if is_rgb(bio):
        return [f"sample {i}" for i in range(int(bio.dims["S"][0]))]
    names = [str(name) for name in (bio.channel_names or [])]
    count = int(bio.dims["C"][0])  # an OME-Zarr that names none is given one name for all
    return names if len(names) == count else [str(i) for i in range(count)]


def channel_numbers(
    path: str | Path, bio: Any, channel: str | int | list[str | int] | None
) -> tuple[list[str], list[int]]:
    """Return the names of an image's channels, and the numbers of those that are asked for.

    Raises
    ------
    ImageError
        A channel that it does not have.
    """
    names = channel_names(bio)
    if channel is None:
        return names, list(range(len(names)))
    asked = list(channel) if isinstance(channel, (list, tuple)) else [channel]
    numbers = []
    for one in asked:
        text = str(one).strip()
        if text in names:
            numbers.append(names.index(text))
        elif re.fullmatch(r"\d+", text) and int(text) < len(names):
            numbers.append(int(text))
        else:
            listing = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
            raise ImageError(str(path), f"has no channel {one!r}", f"Its channels are {listing}.")
    return names, numbers


def _reason(error: Exception) -> str:
    """Return the first line of an error, shortened: the rest is in the log."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
