"""One image in several files, one channel each: ``x_{0000,0001}.tif``.

nnU-Net and many microscopes write each channel to its own file. The path of such an image names the
files in braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

_BRACES = re.compile(r"\{([^{}]+)\}")
_NNUNET = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})(?P<ending>\.[^/]+)")
_NNUNET_FOLDERS = ("imagesTr", "imagesTs", "imagesVal")


def is_multi_file(path: str | Path) -> bool:
    """Return whether a path names several files in braces, and is no file itself."""
    return bool(_BRACES.search(Path(path).name)) and not Path(path).exists()


def members_of(path: str | Path) -> list[Path]:
    """Return the files of an image: those in braces, or the path itself.

    >>> [p.name for p in members_of("a_{0000,0001}.tif")]
    ['a_0000.tif', 'a_0001.tif']
    """
    path = Path(path)
    found = _BRACES.search(path.name)
    if found is None or path.exists():
        return [path]
    before, after = path.name[: found.start()], path.name[found.end() :]
    return [path.with_name(f"{before}{part.strip()}{after}") for part in found[1].split(",")]


def image_exists(path: str | Path) -> bool:
    """Return whether all files of an image exist."""
    return all(member.exists() for member in members_of(path))


def channel_names_beside(folder: Path) -> list[str]:
    """Return the names of channels in the ``dataset.json`` of nnU-Net beside a folder; else []."""
    try:
        description = json.loads((folder.parent / "dataset.json").read_text(encoding="utf-8"))
        names = description.get("channel_names") or description.get("modality") or {}
        return [str(names[number]) for number in sorted(names, key=int)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def join_channel_files(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Return one path for each image in the images of an nnU-Net data set, else the files.

    Parameters
    ----------
    folder : Path
    files : sequence of Path
        The images in the folder.
    """
    if folder.name not in _NNUNET_FOLDERS or not channel_names_beside(folder):
        return list(files)
    images: dict[tuple[str, str], list[str]] = {}
    for path in files:
        found = _NNUNET.fullmatch(path.name)
        if found is None:
            return list(files)
        images.setdefault((found["id"], found["ending"]), []).append(found["channel"])
    return [
        folder / f"{name}_{{{','.join(sorted(channels))}}}{ending}"
        for (name, ending), channels in sorted(images.items())
    ]
