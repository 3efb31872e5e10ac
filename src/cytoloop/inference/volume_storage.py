"""Storage of an image's intermediate volumes: in memory, or on disk to survive an interruption."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.instances.blocks import Volume
from cytoloop.io.atomic import replacing

IN_MEMORY_VOXELS = 2**26
"""Larger images keep their maps and labels on disk; this many need half a GiB."""
CHUNK = (16, 256, 256)
"""Of volumes on disk."""
SLAB_VOXELS = 2**25
"""Most voxels of several planes that are held in memory."""
PARTIAL_FOLDER = ".partial"
_PROGRESS_FILE = "progress.json"


def is_large(shape: Sequence[int]) -> bool:
    """Return whether the volumes of an image of a shape are kept on disk."""
    return math.prod(shape) > IN_MEMORY_VOXELS


def plane_slabs(shape: Sequence[int], start: int = 0) -> Iterator[slice]:
    """Yield slices of planes that are held in memory and written at once: whole chunks, if small.

    Parameters
    ----------
    shape : sequence of int
        (Z, Y, X).
    start : int
        First plane.
    """
    depth = max(min(SLAB_VOXELS // math.prod(shape[1:]), CHUNK[0]), 1)
    while start < shape[0]:
        stop = min(start - start % depth + depth, shape[0])
        yield slice(start, stop)
        start = stop


class VolumeStorage:
    """Intermediate volumes of one image, and how far each is filled.

    Parameters
    ----------
    folder : Path, optional
        Of volumes on disk; None: in memory.
    key : str
        Digest of what the volumes depend on. A folder with another key is emptied.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self.folder = folder
        self._key = key
        self._progress: dict[str, int] = {}
        if folder is None:
            return
        try:
            noted = json.loads((folder / _PROGRESS_FILE).read_text())
            self._progress = {str(k): int(v) for k, v in noted["done"].items()}
            is_same = noted["key"] == key
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            is_same = False
        if not is_same:
            self._progress = {}
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._write_progress()

    @classmethod
    def for_image(cls, output: Path, name: str, shape: tuple[int, ...], key: str) -> VolumeStorage:
        """Return the storage of an image: in ``output/.partial`` if the image is large."""
        return cls.on_disk(output, name, key) if is_large(shape) else cls()

    @classmethod
    def on_disk(cls, output: Path, name: str, key: str) -> VolumeStorage:
        """Return the storage of an image in ``output/.partial``."""
        return cls(output / PARTIAL_FOLDER / name, key)

    @staticmethod
    def open_volume(output: Path, name: str, volume: str) -> Volume:
        """Return a volume that another process created in ``output/.partial``."""
        return _open(output / PARTIAL_FOLDER / name, volume)

    def create(
        self, name: str, shape: tuple[int, ...], dtype: Any, block: tuple[int, ...] = ()
    ) -> Volume:
        """Return an empty volume, or the one that an interrupted run has noted progress of."""
        if self.folder is None:
            return np.zeros(shape, dtype)
        import zarr

        path = self.folder / f"{name}.zarr"
        if name in self._progress and path.is_dir():
            return _open(self.folder, name)
        shutil.rmtree(path, ignore_errors=True)
        chunks = tuple(min(c, n) for c, n in zip(CHUNK[-len(shape) :], shape, strict=True))
        return zarr.open_array(
            store=str(path), mode="w", shape=shape, dtype=dtype, chunks=chunks, fill_value=0
        )

    def progress(self, name: str) -> int:
        """Return how far a volume is filled, as `record_progress` noted it; 0 at first."""
        return self._progress.get(name, 0)

    def record_progress(self, name: str, done: int) -> None:
        """Note how far a volume is filled; everything before that must be on disk."""
        self._progress[name] = done
        self._write_progress()

    def remove(self) -> None:
        """Remove all volumes on disk."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            if not any(self.folder.parent.iterdir()):
                self.folder.parent.rmdir()

    def _write_progress(self) -> None:
        if self.folder is None:
            return
        with replacing(self.folder / _PROGRESS_FILE) as temporary:
            temporary.write_text(json.dumps({"key": self._key, "done": self._progress}))


def _open(folder: Path, name: str) -> Volume:
    import zarr

    return zarr.open_array(store=str(folder / f"{name}.zarr"), mode="r+")
