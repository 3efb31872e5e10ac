"""Open an image: choose its reader, select scene and level, find channels and the time point."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloop.errors import CytoloopError, ImageError, join_names
from cytoloop.io.file_kind import special_kind
from cytoloop.io.multi_file import image_exists, is_multi_file, members_of
from cytoloop.io.notes import library_messages, note
from cytoloop.io.readers.formats import FORMATS, Format, find_format
from cytoloop.io.readers.multi_file import Reader as MultiFileReader
from cytoloop.io.readers.scene import ImageReader, OpenScene

_MAX_REASON = 400
"""Characters of a reader's own message."""
_OTHER_PLUGINS = {
    **dict.fromkeys((".dv", ".r3d"), "bioio-dv"),
    **dict.fromkeys((".sldy",), "bioio-sldy"),
    **dict.fromkeys((".vsi", ".oib", ".oif", ".lsm", ".ims", ".lei", ".zvi"), "bioio-bioformats"),
}
"""Formats that CytoLoop reads where the user installs a plugin of bioio."""


@dataclass(frozen=True)
class OpenImage:
    """An opened scene of a file.

    Attributes
    ----------
    path : str or Path
    pixels : OpenScene
    scenes : tuple of str
        All scenes of the file.
    levels : int
        Pyramid levels of the scene.
    cautions : tuple of str
        Warnings for an image of intensities.
    reader : ImageReader
    """

    path: str | Path
    pixels: OpenScene
    scenes: tuple[str, ...]
    levels: int
    cautions: tuple[str, ...]
    reader: ImageReader

    def close(self) -> None:
        """Close the file."""
        self.reader.close()


@contextmanager
def wrap_read_errors(path: str | Path) -> Iterator[None]:
    """Turn any exception of a reader into an `ImageError` that names the file.

    What a library logs as a warning becomes a note.
    """
    try:
        with library_messages() as messages:
            yield
        for message in messages:
            note(path, message)
    except CytoloopError:
        raise
    except MemoryError as error:
        raise ImageError(
            str(path), "does not fit into memory", "Crop it, or use a machine with more memory."
        ) from error
    except Exception as error:  # each reader has its own exceptions
        raise ImageError(
            str(path),
            f"cannot be read: {_reason(error, path)}",
            "Open it in Fiji to check that it is complete; export it again, or remove its row.",
        ) from error


def open_image(
    path: str | Path,
    scene: str | int | None = None,
    level: int = 0,
    axes: str | None = None,
    several_scenes: bool = False,
    plane: int | None = None,
) -> OpenImage:
    """Return an opened scene of a file, by the reader in `cytoloop.io.readers.formats.FORMATS`.

    Parameters
    ----------
    path : str or Path
    scene : str or int, optional
        Name or number of the scene; default: the only one.
    level : int
        Pyramid level; 0 is the full resolution.
    axes : str, optional
        The axes as the user states them, see `cytoloop.io.axes`.
    several_scenes : bool
        Open the first of several scenes where none is named; else they are refused.
    plane : int, optional
        Plane of a stack, from 0; default: all of them.

    Raises
    ------
    ImageError
        The file is missing, empty or unreadable, has no such scene, level or plane, or has
        several scenes.
    """
    file = Path(path)
    with wrap_read_errors(path):
        if not image_exists(file):
            missing = [one.name for one in members_of(file) if not one.exists()]
            named = f": {', '.join(missing)}" if is_multi_file(file) else ""
            raise ImageError(str(path), f"no such file{named}", "Check the path.")
        if kind := special_kind(file):
            raise ImageError(str(path), f"is {kind}, expected a file", "Save the image as a file.")
        if file.is_file() and file.stat().st_size == 0:
            raise ImageError(str(path), "the file is empty (0 bytes)", "Copy or export it again.")
        reader = MultiFileReader(file, _open_reader) if is_multi_file(file) else _open_reader(file)
        with ExitStack() as closed_on_error:
            closed_on_error.callback(reader.close)
            number = _selected_scene(path, reader, scene, several_scenes)
            levels = reader.count_levels(number)
            if not 0 <= level < levels:
                raise ImageError(str(path), f"has no level {level}", f"It has {levels}, from 0.")
            found = reader.open(number, level)
            pixels = OpenScene(path, found, axes, plane)
            closed_on_error.pop_all()
        return OpenImage(path, pixels, tuple(reader.scenes), levels, found.cautions, reader)


def _selected_scene(
    path: str | Path, reader: ImageReader, scene: str | int | None, several_scenes: bool
) -> int:
    """Return the number of the scene to open, see `open_image`."""
    if scene is not None:
        return _scene_number(path, reader, scene)
    if len(reader.scenes) > 1 and not several_scenes:
        raise ImageError(
            str(path),
            f"has {len(reader.scenes)} scenes ({join_names(reader.scenes)}), expected one",
            "Name one: scene=NAME, or the column 'scene' of a table.",
        )
    return 0


def _open_reader(path: Path) -> ImageReader:
    """Return a reader of a file.

    Raises
    ------
    ImageError
        The format is not supported, or the package of its reader is not installed.
    """
    entry = find_format(path)
    if entry is None:
        return _open_other(path)
    try:
        module = importlib.import_module(entry.module)
        if entry.module.startswith("cytoloop."):
            return getattr(module, entry.reader)(path)
    except ImportError as error:
        if not entry.extra:
            raise
        raise _missing(path, entry, error) from error
    from cytoloop.io.readers.bioio import open_plugin

    return open_plugin(path, entry.module)


def _missing(path: Path, entry: Format, error: ImportError) -> ImageError:
    return ImageError(
        str(path),
        f"cannot be read: {entry.name} needs a package that is not installed ({_package(error)})",
        f"Install it: pip install 'cytoloop[{entry.extra}]'",
    )


def _package(error: ImportError) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    return str(cause.name)


def _open_other(path: Path) -> ImageReader:
    """Return a reader of a format that is not in the table, by a plugin that the user installed."""
    from bioio_base.exceptions import UnsupportedFileFormatError

    from cytoloop.io.readers.bioio import open_any

    try:
        return open_any(path)
    except UnsupportedFileFormatError as error:
        ending = path.suffix.lower() or "no ending"
        known = ", ".join(
            f"{entry.name}{f' (cytoloop[{entry.extra}])' if entry.extra else ''}"
            for entry in FORMATS
        )
        plugin = _OTHER_PLUGINS.get(ending, "a plugin of bioio for it")
        raise ImageError(
            str(path),
            f"is not in a format that is supported here ({ending}); supported are {known}",
            f"Save it as OME-TIFF with Fiji, or install {plugin}.",
        ) from error


def _scene_number(path: str | Path, reader: Any, scene: str | int) -> int:
    """Return the number of a scene: by its name, its number, or the image's name in the file."""
    known, text = [str(name) for name in reader.scenes], str(scene)
    if text in known:
        return known.index(text)
    if text.isdigit() and int(text) < len(known):
        return int(text)
    names = list(getattr(reader, "scene_names", ()))
    if names.count(text) == 1:
        return names.index(text)
    hidden = reader.find_hidden(text) if hasattr(reader, "find_hidden") else None
    if hidden is not None:
        return int(hidden)
    raise ImageError(
        str(path), f"has no scene {scene!r}", f"Its scenes are {join_names(known, 20)}."
    )


def time_number(image: OpenImage, time: int | None) -> int:
    """Return the time point to read.

    Raises
    ------
    ImageError
        There is no such time point, or there are several and none is named.
    """
    count = image.pixels.shape[0]
    if time is None and count > 1:
        raise ImageError(
            str(image.path),
            f"has {count} time points, expected one",
            "Name one: time=NUMBER from 0, or the column 'time' of a table.",
        )
    number = time or 0
    if not 0 <= number < count:
        raise ImageError(
            str(image.path), f"has no time point {time}", f"It has {count}, counted from 0."
        )
    return number


def channel_numbers(image: OpenImage, channel: str | int | Sequence[str | int] | None) -> list[int]:
    """Return the numbers of the requested channels; None: all.

    Raises
    ------
    ImageError
        The image has no such channel.
    """
    names = image.pixels.channels
    if channel is None:
        return list(range(len(names)))
    requested = [channel] if isinstance(channel, (str, int)) else list(channel)
    numbers = []
    for item in requested:
        text = str(item).strip()
        if text in names:
            numbers.append(names.index(text))
        elif re.fullmatch(r"\d+", text) and int(text) < len(names):
            numbers.append(int(text))
        else:
            raise ImageError(
                str(image.path), f"has no channel {item!r}", f"Its channels are {_listing(names)}."
            )
    return numbers


def only_channel(image: OpenImage, channel: str | int | None) -> int:
    """Return the number of the requested channel, or of the only one.

    Raises
    ------
    ImageError
        There are several channels and none is named, or there is no such channel.
    """
    names = image.pixels.channels
    if channel is None and len(names) > 1:
        kind = "the samples of a colour" if image.pixels.is_colour else "channels"
        raise ImageError(
            str(image.path),
            f"has {len(names)} channels ({_listing(names)}), {kind}; expected one",
            "Name the channel that holds labels, or save the labels as numbers of one channel.",
        )
    return channel_numbers(image, channel)[0]


def _listing(names: Sequence[str]) -> str:
    return ", ".join(f"{i}: {name}" for i, name in enumerate(names))


def _reason(error: Exception, path: str | Path) -> str:
    """Return a reader's own message without the folder of the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    for folder in {str(Path(path).parent), str(Path(path).absolute().parent)} - {"."}:
        text = text.replace(f"{folder}/", "")
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]} ..."
