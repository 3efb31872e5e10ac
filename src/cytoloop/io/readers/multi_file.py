"""An image in several files, one channel each, see `cytoloop.io.multi_file`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.multi_file import channel_names_beside, members_of
from cytoloop.io.readers.scene import ImageReader, Scene


class Reader:
    """Reader of an image in several files, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path
        With the names in braces.
    open_reader : callable
        Returns the reader of a file.
    """

    def __init__(self, path: str | Path, open_reader: Callable[[Path], ImageReader]) -> None:
        self._path = Path(path)
        self._readers = [open_reader(member) for member in members_of(path)]
        self.scenes = tuple(self._readers[0].scenes)

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers:
            reader.close()

    def count_levels(self, scene: int) -> int:
        """Return the number of pyramid levels that all files have."""
        return min(reader.count_levels(scene) for reader in self._readers)

    def open(self, scene: int, level: int) -> Scene:
        """Return a scene with the channels of all files.

        Raises
        ------
        ImageError
            The files differ, or hold several channels.
        """
        parts = [reader.open(scene, level) for reader in self._readers]
        first = parts[0]
        kinds = {(part.axes, tuple(part.array.shape), str(part.array.dtype)) for part in parts}
        if len(kinds) > 1 or "C" in first.axes:
            found = "; ".join(f"{axes} {shape} {dtype}" for axes, shape, dtype in sorted(kinds))
            raise ImageError(
                str(self._path),
                f"its files differ or hold several channels: {found}",
                "The files of an image need the same shape and type, and one channel each.",
            )
        names = channel_names_beside(self._path.parent)
        return Scene(
            array=_Stack([part.array for part in parts]),
            axes="C" + first.axes,
            channels=names if len(names) == len(parts) else (),
            sizes=first.sizes,
            origin=first.origin,
            white=first.white,
            is_signed=first.is_signed,
            mirrored=first.mirrored,
            cautions=first.cautions,
        )


class _Stack:
    """Arrays of one shape, along a new first axis."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self._arrays = arrays
        self.shape, self.dtype = (len(arrays), *arrays[0].shape), arrays[0].dtype

    def __getitem__(self, part: Any) -> np.ndarray:
        first, *rest = part
        if isinstance(first, int):
            return np.asarray(self._arrays[first][tuple(rest)])
        return np.stack([np.asarray(array[tuple(rest)]) for array in self._arrays[first]])
