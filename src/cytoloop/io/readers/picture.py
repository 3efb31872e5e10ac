"""PNG, JPEG and BMP. The numbers of a palette are read, not its colours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from cytoloop.errors import ImageError
from cytoloop.io.readers.scene import Scene, check_memory

_GREY = ("1", "L", "P", "I", "I;16", "F")
_COLOURS = ("RGB", "RGBA", "LA", "PA", "YCbCr", "RGBX")
_PNG_BIT_DEPTH, _PNG_COLOUR_TYPE = 24, 25
"""Positions of two bytes of the header of a PNG."""


class Reader:
    """Reader of pictures, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ImageError
        Colours other than RGB, or a picture larger than the memory.
    """

    scenes = ("Image:0",)

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # see check_memory
            with Pillow.open(self._path) as picture:
                self._mode, (width, height) = picture.mode, picture.size
                frames = int(getattr(picture, "n_frames", 1))
        check_memory(path, width * height * (2 if self._mode in _GREY else 6))
        if frames > 1:
            raise ImageError(
                str(path), f"is animated ({frames} frames)", "Save its frames as a TIFF."
            )
        if self._mode not in (*_GREY, *_COLOURS):
            raise ImageError(
                str(path),
                f"its pixels are {self._mode}, expected grey levels, a palette or RGB",
                "Convert it to grey levels or RGB.",
            )

    def close(self) -> None:
        """Do nothing: the file is not kept open."""

    def count_levels(self, scene: int) -> int:
        """Return 1: pictures have no pyramid."""
        return 1

    def open(self, scene: int, level: int) -> Scene:
        """Return the picture, without its transparency."""
        data, cautions = self._read(), []
        if self._mode in ("P", "PA"):
            cautions.append("holds numbers of a palette: the numbers are read, not the colours")
        if self._mode in ("LA", "RGBA", "PA"):
            cautions.append("its transparency (alpha) is left out")
        return Scene(array=data, axes="YXS"[: data.ndim], cautions=tuple(cautions))

    def _read(self) -> np.ndarray:
        """Return the pixels, (Y, X) or (Y, X, S)."""
        if _is_deep_colour(self._path):  # Pillow reduces 16 bits of colour to 8
            found: Any = cv2.imread(str(self._path), cv2.IMREAD_UNCHANGED)
            if found is None:
                raise ImageError(str(self._path), "cannot be decoded", "Save it again.")
            return np.asarray(found[..., 2::-1])  # OpenCV returns blue, green, red
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(self._path) as picture:
                turned = ImageOps.exif_transpose(picture)
                if self._mode in ("YCbCr", "RGBX"):
                    turned = turned.convert("RGB")
                data = np.asarray(turned)
        if self._mode in ("LA", "PA"):
            return data[..., 0]
        return data[..., :3] if data.ndim == 3 else data


def _is_deep_colour(path: Path) -> bool:
    """Return whether a file is a PNG with 16 bits for each colour."""
    with path.open("rb") as file:
        head = file.read(26)
    is_png = head.startswith(b"\x89PNG\r\n") and len(head) == 26
    return is_png and head[_PNG_BIT_DEPTH] == 16 and head[_PNG_COLOUR_TYPE] in (2, 6)
