"""Cellpose's ``_seg.npy``: its masks, read without running the code that a pickle may hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.readers.scene import Scene
from cytoloop.io.safe_pickle import load_npy


class Reader:
    """Reader of the masks of Cellpose, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path
    """

    scenes = ("Image:0",)

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def close(self) -> None:
        """Do nothing: the file is not kept open."""

    def count_levels(self, scene: int) -> int:
        """Return 1: there is no pyramid."""
        return 1

    def open(self, scene: int, level: int) -> Scene:
        """Return the masks, ([Z,] Y, X).

        Raises
        ------
        ImageError
            The file holds no masks.
        """
        try:
            content = load_npy(self._path.read_bytes())
            masks = content.item()["masks"] if content.shape == () else None
        except (ValueError, EOFError, SyntaxError, KeyError, TypeError) as error:
            raise self._error(f"{type(error).__name__}: {error}") from error
        except pickle.UnpicklingError as error:
            raise self._error(str(error)) from error
        if not isinstance(masks, np.ndarray) or masks.ndim not in (2, 3):
            raise self._error("it has no key 'masks' with an image")
        return Scene(array=masks, axes="ZYX"[-masks.ndim :])

    def _error(self, reason: str) -> ImageError:
        return ImageError(
            str(self._path),
            f"holds no masks of Cellpose: {reason}",
            "Save the masks as TIFF or PNG in Cellpose.",
        )
