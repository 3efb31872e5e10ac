"""What the numbers of a TIFF mean: grey levels, inverted grey levels, colours, a palette."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError
from cytoloop.io.notes import note

_JPEGS = (6, 7, 33007, 34892)
_GREY = ("MINISBLACK", "MASK", "LINEAR_RAW", "DEPTH_MAP", "SEMANTIC_MASK")
_REPAIR = "Convert it to grey levels (BlackIsZero) or RGB, for example with Fiji."


@dataclass(frozen=True)
class Photometry:
    """What the numbers of an image mean.

    Attributes
    ----------
    white : int or None
        The value that stands for 0, where 0 is white.
    colours : int or None
        Samples that are colours; further samples are transparency.
    cautions : tuple of str
        Warnings for an image of intensities; labels are read as they are.
    """

    white: int | None = None
    colours: int | None = None
    cautions: tuple[str, ...] = ()


def read_photometry(
    path: str | Path, page: Any, is_imagej: bool, has_samples: bool = True
) -> Photometry:
    """Return what the numbers of a page mean.

    Parameters
    ----------
    path : str or Path
        For messages.
    page : tifffile.TiffPage
    is_imagej : bool
        Whether ImageJ wrote the file.
    has_samples : bool
        Whether the samples of a pixel are an axis of their own; only then some are transparency.

    Raises
    ------
    ImageError
        They are neither grey levels nor RGB nor a palette.
    """
    name = getattr(page.photometric, "name", str(page.photometric))
    colours: int | None = None
    cautions: tuple[str, ...] = ()
    alpha = sum(int(kind) in (1, 2) for kind in page.extrasamples)
    if has_samples and alpha and page.samplesperpixel > alpha:
        colours = page.samplesperpixel - alpha
        cautions = ("its transparency (alpha) is left out",)
    if name == "MINISWHITE":
        if is_imagej:
            text = "has an inverting LUT of ImageJ: the numbers are kept, as ImageJ keeps them"
            return Photometry(None, colours, (*cautions, text))
        if page.bitspersample == 1 and str(page.software) == "tifffile.py":
            note(
                path,
                "its zeros are white, as tifffile and scikit-image mark every array of bool: "
                "False is read as 1, as in Fiji. If True were the objects, save it as uint8",
                once_for_all="bool of tifffile",
            )
        return Photometry(_white(path, page), colours, cautions)
    if name == "PALETTE":
        if not _is_ramp(page.colormap):
            cautions = ("holds numbers of a palette: the numbers are read, not the colours",)
        return Photometry(None, None, cautions)
    if name in (*_GREY, "RGB") or (name == "YCBCR" and int(page.compression) in _JPEGS):
        return Photometry(None, colours, cautions)
    raise ImageError(
        str(path),
        f"its pixels are {name} (photometric interpretation), expected grey levels or RGB",
        _REPAIR,
    )


def _white(path: str | Path, page: Any) -> int:
    """Return the number of black in an image whose zeros are white."""
    dtype = np.dtype(page.dtype)
    if dtype.kind not in "bu":
        raise ImageError(
            str(path), f"its zeros are white (WhiteIsZero), but it holds {dtype}: no number is "
            "black", _REPAIR,
        )  # fmt: skip
    return 2 ** int(page.bitspersample) - 1


def _is_ramp(colormap: np.ndarray | None) -> bool:
    """Return whether colours only grow with the numbers: a lookup table for grey levels."""
    return colormap is None or bool((np.diff(np.asarray(colormap, np.int64), axis=-1) >= 0).all())
