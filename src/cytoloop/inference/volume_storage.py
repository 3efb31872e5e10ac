"""Where intermediate volumes are kept: in memory, or in a folder that survives a stop."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.instances.blocks import Volume
from cytoloop.io.atomic import replacing

IN_MEMORY_VOXELS = 2**26
"""Voxels up to which an image's maps and labels are kept in memory: half a GiB."""
CHUNK = (16, 256, 256)
"""Of volumes on disk."""
_NOTE = "progress.json"


class VolumeStorage:
    """Volumes of one image.

    Parameters
    ----------
    folder : Path, optional
        Of volumes on disk; None: in memory.
    key : str
        What they depend on. A folder with another key is emptied.
    """

    def __init__(self, folder: Path | None, key: str = "") -> None:
        self.folder = folder
        self._key = key
        self._done: dict[str, int] = {}
        if folder is None:
            return
        note = folder / _NOTE
        try:
            found = json.loads(note.read_text())
            self._done = {str(k): int(v) for k, v in found["done"].items()}
            fresh = found["key"] != key
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            fresh = True
        if fresh:
            self._done = {}
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._note()

    @classmethod
    def beside(cls, output: Path, name: str, shape: tuple[int, ...], key: str) -> VolumeStorage:
        """Return the scratch of an image: on disk where it is large."""
        small = math.prod(shape) <= IN_MEMORY_VOXELS
        return cls(None if small else output / ".partial" / name, key)

    @staticmethod
    def attach(folder: Path, name: str) -> Volume:
        """Return a volume that another process made."""
        import zarr

        return zarr.open_array(store=str(folder / f"{name}.zarr"), mode="r+")

    def new(
        self, name: str, shape: tuple[int, ...], dtype: Any, block: tuple[int, ...] = ()
    ) -> Volume:
        """Return an empty volume; one that was noted before a stop as it was left."""
        if self.folder is None:
            return np.zeros(shape, dtype)
        import zarr

        path = self.folder / f"{name}.zarr"
        if name in self._done and path.is_dir():
            return self.attach(self.folder, name)
        shutil.rmtree(path, ignore_errors=True)
        chunks = tuple(min(c, n) for c, n in zip(CHUNK[-len(shape) :], shape, strict=True))
        return zarr.open_array(
            store=str(path), mode="w", shape=shape, dtype=dtype, chunks=chunks, fill_value=0
        )

    def done(self, name: str) -> int:
        """Return how far a volume was filled, as it was noted."""
        return self._done.get(name, 0)

    def note(self, name: str, done: int) -> None:
        """Note how far a volume is filled: what comes before is on disk."""
        self._done[name] = done
        if self.folder is not None:
            self._note()

    def remove(self) -> None:
        """Remove everything."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            if not any(self.folder.parent.iterdir()):
                self.folder.parent.rmdir()

    def _note(self) -> None:
        if self.folder is None:
            return
        facts: Mapping[str, Any] = {"key": self._key, "done": self._done}
        with replacing(self.folder / _NOTE) as temporary:
            temporary.write_text(json.dumps(facts))
