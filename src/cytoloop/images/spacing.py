"""Voxel sizes that can be trusted.

A TIFF's resolution tag is no voxel size: scanners and printers write it too (72 dpi would be
20 320 um). It counts only where the file states a unit of length as microscopes do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile

Spacing = tuple[float, float, float]

_MICROMETRE = {
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "\\u00b5m": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
}


def read_spacing(path: str | Path, bio: Any) -> Spacing | None:
    """Return the voxel size (Z, Y, X) in um, None unless the file states a unit of length."""
    file = Path(path)
    if file.name.lower().endswith((".tif", ".tiff")):
        with tifffile.TiffFile(file) as tif:
            if not tif.is_ome:
                return _of_plain_tiff(tif)
    try:
        size = bio.physical_pixel_sizes
    except Exception:  # bioio_czi raises where the CZI lacks a scale; then nothing is known
        return None
    if not size.Y or not size.X:
        return None
    return (float(size.Z or 1.0), float(size.Y), float(size.X))


def _of_plain_tiff(tif: tifffile.TiffFile) -> Spacing | None:
    """Return the spacing of an ImageJ TIFF; a bare resolution tag says nothing about microscopy."""
    meta = tif.imagej_metadata or {}
    unit = _MICROMETRE.get(str(meta.get("unit", "")).strip().lower())
    if unit is None:
        return None
    page = tif.pages.first
    try:
        x, y = (page.tags[name].value for name in ("XResolution", "YResolution"))
        return (float(meta.get("spacing", 1.0)) * unit, y[1] / y[0] * unit, x[1] / x[0] * unit)
    except (KeyError, ZeroDivisionError):
        return None
