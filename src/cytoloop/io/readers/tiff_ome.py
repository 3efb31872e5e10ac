"""OME-TIFF: the images that its OME-XML describes, and the files of an image of several files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from cytoloop.errors import ImageError
from cytoloop.io.readers.tiff_companion import companion_files, is_companion
from cytoloop.io.voxel_size import StatedSize

_COPY_ALL = "Put all files of the image into one folder, with the names that they had."


@dataclass(frozen=True)
class OmeImage:
    """An image of an OME-XML.

    Attributes
    ----------
    name : str
    channels : sequence of str
        Name of each channel, else its ID.
    sizes : mapping
        Axis to the voxel size and its unit.
    """

    name: str
    channels: Sequence[str]
    sizes: dict[str, StatedSize]


@dataclass(frozen=True)
class Members:
    """The files of one image.

    Attributes
    ----------
    own : str
        UUID of the file that was read, "" if it states none.
    files : dict of str to str
        File name to UUID, of all files that hold planes.
    master : str
        The file with the metadata, if this one has none of its own.
    """

    own: str
    files: dict[str, str]
    master: str = ""


def ome_images(path: str | Path, file: tifffile.TiffFile, count: int) -> list[OmeImage]:
    """Return the images of the OME-XML that are series of the file; empty if they do not fit."""
    root = _parse(file.ome_metadata) if file.is_ome else None
    if root is None or any(series.kind != "ome" for series in file.series):
        return []
    found = []
    for image in _children(root, "Image"):
        for pixels in _children(image, "Pixels"):
            names = [
                str(channel.get("Name") or channel.get("ID") or number)
                for number, channel in enumerate(_children(pixels, "Channel"))
            ]
            sizes: dict[str, StatedSize] = {
                axis: (_number(size), pixels.get(f"PhysicalSize{axis}Unit"))
                for axis in "ZYX"
                if (size := pixels.get(f"PhysicalSize{axis}")) is not None
            }
            found.append(OmeImage(str(image.get("Name") or ""), names, sizes))
    if len(found) == count:
        return found
    names = [str(series.name or "") for series in file.series]  # images without data have no series
    matching = [image for image in found if image.name in names]
    return matching if len(matching) == count else []


def read_members(file: tifffile.TiffFile) -> Members | None:
    """Return the files of the image that a file belongs to; None if its OME-XML names none."""
    root = _parse(file.ome_metadata) if file.is_ome else None
    if root is None:
        return None
    own = str(root.get("UUID") or "")
    for part in _children(root, "BinaryOnly"):
        return Members(own, {}, str(part.get("MetadataFile") or "another file"))
    files = {
        str(uuid.get("FileName")): (uuid.text or "").strip()
        for uuid in root.iter()
        if uuid.tag.endswith("}UUID") and uuid.get("FileName")
    }
    return Members(own, files)


def check_members(path: str | Path, file: tifffile.TiffFile) -> None:
    """Refuse a file of which a part is missing, in another file.

    Raises
    ------
    ImageError
        Another file of the image is missing or was exchanged, or holds the metadata.
    """
    members = read_members(file)
    if members is None:
        return
    if members.master:
        raise ImageError(
            str(path),
            f"is a part of an image; its metadata are in {members.master}",
            "Name that file instead. If you do not have it, copy it from where the image was made.",
        )
    folder, problems = Path(path).parent, []
    for name, uuid in members.files.items():
        if (uuid == members.own and uuid) or name.lower() == Path(path).name.lower():
            continue
        member = folder / name
        if not member.is_file():
            problems.append(f"the image is in several files, and {name} is missing")
        elif (found := _uuid_of(member)) != uuid and (found or not is_companion(path)):
            problems.append(
                f"{name} beside it is another file: its UUID is {found or 'not stated'}, "
                f"expected {uuid}"
            )
    if problems:
        raise ImageError(str(path), problems, _COPY_ALL)


def drop_members(files: Iterable[Path]) -> list[Path]:
    """Return the files without those that another file of the list reads as a part of its image."""
    kept: list[Path] = []
    taken: set[Path] = set()
    for path in sorted(files):
        if path in taken:
            continue
        kept.append(path)
        if is_companion(path):
            taken |= {path.parent / name for name in companion_files(path)}
        elif path.name.lower().endswith((".tif", ".tiff")) and path.is_file():
            taken |= {path.parent / name for name in _other_names(path)}
    # the file with the metadata may come after its parts
    return [path for path in kept if path not in taken]


def _other_names(path: Path) -> set[str]:
    try:
        with tifffile.TiffFile(path) as file:
            members = read_members(file)
    except (OSError, ValueError, KeyError, tifffile.TiffFileError):
        return set()  # the file fails when it is read, with the reason
    if members is None or members.files.get(path.name, members.own) != members.own:
        return set()
    return set(members.files) - {path.name}


def _uuid_of(path: Path) -> str:
    try:
        with tifffile.TiffFile(path) as file:
            members = read_members(file)
    except (OSError, ValueError, tifffile.TiffFileError):
        return ""
    return members.own if members else ""


def _parse(xml: str | None) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(xml) if xml else None
    except ElementTree.ParseError:
        return None  # tifffile says so


def _children(element: ElementTree.Element, name: str) -> list[Any]:
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return float("nan")
