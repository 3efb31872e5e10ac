"""OME-TIFF whose metadata are in a file of their own, ``NAME.companion.ome``."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from cytoloop.errors import ImageError

SUFFIX = ".companion.ome"
_MAX_BYTES = 64 << 20


def is_companion(path: str | Path) -> bool:
    """Return whether a file holds the metadata of an image in OME-TIFFs."""
    return Path(path).name.lower().endswith(SUFFIX)


def read_companion(path: str | Path) -> tuple[Path, str]:
    """Return the first OME-TIFF of an image, and the OME-XML of the companion file.

    Raises
    ------
    ImageError
        The file is no OME-XML, names no file, or the first one is missing.
    """
    path = Path(path)
    repair = "Copy it again, with the OME-TIFFs that belong to it, into one folder."
    if (size := path.stat().st_size) > _MAX_BYTES:
        found = f"has {size} bytes, expected at most {_MAX_BYTES}"
        raise ImageError(str(path), found, repair)
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = _file_names(text)
    except (ElementTree.ParseError, UnicodeError) as error:
        raise ImageError(str(path), f"is not OME-XML: {error}", repair) from error
    if not names:
        raise ImageError(str(path), "names no OME-TIFF of its image", repair)
    first = path.parent / names[0]
    if not first.is_file():
        raise ImageError(
            str(path), f"the image is in several files, and {names[0]} is missing", repair
        )
    return first, text


def companion_files(path: str | Path) -> list[str]:
    """Return the names of the OME-TIFFs of an image, [] if the companion file is damaged."""
    try:
        return _file_names(Path(path).read_text(encoding="utf-8-sig"))
    except (ElementTree.ParseError, UnicodeError, OSError):
        return []


def _file_names(xml: str) -> list[str]:
    """Return the files that the planes of an OME-XML lie in, each once, in their order."""
    names = (
        str(element.get("FileName"))
        for element in ElementTree.fromstring(xml).iter()
        if element.tag.rpartition("}")[2] == "UUID" and element.get("FileName")
    )
    return list(dict.fromkeys(names))
