"""The files of each source: images, and outlines of regions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ConfigError, ImageError
from cytoloop.io.listing import list_images
from cytoloop.io.readers.formats import IMAGE_SUFFIXES
from cytoloop.manifest import absolute_path
from cytoloop.manifest.own_folder import labels_in
from cytoloop.truth.regions import OUTLINE_SUFFIXES


def list_sources(sources: Mapping[str, str]) -> dict[str, list[Path]]:
    """Return the files of each source, as absolute paths.

    Parameters
    ----------
    sources : mapping of str to str
        Name of the source to a folder, a glob pattern or a file.

    Raises
    ------
    ConfigError
        All sources that are missing or hold no file.
    """
    files: dict[str, list[Path]] = {}
    problems, repairs = [], []
    for name, given in sources.items():
        source = labels_in(given) if name in ("seg1", "seg2") else given
        try:
            regions = _list_regions(source) if name in ("merge", "exclude") else []
            files[name] = [Path(os.path.abspath(p)) for p in regions or list_images(source)]
        except ImageError as error:
            problems.append(f"{name}={source}: {'; '.join(error.problems)}")
            repairs.append(error.repair)
    if problems:
        raise ConfigError("sources", problems, " ".join(dict.fromkeys(repairs)))
    return files


def _list_regions(source: str) -> list[Path]:
    """Return the images and outlines (``.npy``, ``.json``, ``.roi`` ...) of a folder."""
    folder = absolute_path(source)
    if not folder.is_dir() or folder.name.lower().endswith(".zarr"):
        return []
    endings = (*IMAGE_SUFFIXES, *OUTLINE_SUFFIXES)
    found = [p for p in folder.iterdir() if p.name.lower().endswith(endings)]
    return sorted(p for p in found if not p.name.startswith("."))
