"""Voxel sizes that can be trusted, and where in space an image begins.

A TIFF's resolution tag is no voxel size: scanners and printers write it too (72 dpi would be
20 320 um). It counts only where the file states a unit of length as microscopes do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """How the voxels of an image lie in space.

    Attributes
    ----------
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in micrometres; None where it is unknown.
    origin_um : tuple of float or None
        Where the centre of the first voxel lies (Z, Y, X), in micrometres: NGFF's
        ``translation``, which viewers follow. None at 0.
    """

    spacing_um: Spacing | None = None
    origin_um: Spacing | None = None


_MICROMETRE = {
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "millimeter": 1e3,
    "millimetre": 1e3,
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
    if not size.Y or not size.X or (not size.Z and int(bio.dims["Z"][0]) > 1):
        return None
    factors = [_in_um(_unit(bio, axis)) for axis in "ZYX"]
    if None in factors[1:] or (size.Z and factors[0] is None):
        return None
    z, y, x = (f or 1.0 for f in factors)
    return (float(size.Z or 1.0) * z, float(size.Y) * y, float(size.X) * x)


def read_origin(path: str | Path, bio: Any, level: int = 0) -> Spacing | None:
    """Return where an OME-Zarr lies in space, (Z, Y, X) in um; None at 0, and of other formats.

    Of a level: what is said of it, scaled by what is said of the whole pyramid, and moved by that
    (NGFF 0.4, 3.4: the transformations of a dataset come first). The stage positions of an
    OME-TIFF are left alone: no viewer moves an image by them.
    """
    if not Path(path).is_dir():
        return None
    import zarr

    attributes = zarr.open_group(str(path), mode="r").attrs.asdict()
    told: Any = attributes.get("ome", attributes)  # since version 0.5
    scene = told["multiscales"][bio.current_scene_index]
    axes = [str(axis.get("name", "")).upper() for axis in scene.get("axes", [])]
    own, whole = _moves(scene["datasets"][level]), _moves(scene)
    found = []
    for axis in "ZYX":
        factor = _in_um(_unit(bio, axis))
        if axis not in axes or factor is None:
            found.append(0.0)
            continue
        number = axes.index(axis)
        scale = _entry(whole, "scale", number, 1.0)
        moved = scale * _entry(own, "translation", number, 0.0)
        found.append((moved + _entry(whole, "translation", number, 0.0)) * factor)
    return (found[0], found[1], found[2]) if any(found) else None


def _moves(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the transformations of a level, or of a pyramid."""
    return [one for one in said.get("coordinateTransformations", []) if isinstance(one, Mapping)]


def _entry(moves: Sequence[Mapping[str, Any]], kind: str, number: int, default: float) -> float:
    """Return the entry of an axis in the transformation of a kind.

    Raises
    ------
    ValueError
        It is no number.
    """
    values: Sequence[float] = next((one[kind] for one in moves if kind in one), ())
    value = float(values[number]) if number < len(values) else default
    if not math.isfinite(value):
        raise ValueError(f"its {kind} is {value}, expected a number")
    return value


def _unit(bio: Any, axis: str) -> Any:
    """Return the unit of an axis as the file states it: OME-XML, else the reader's own word."""
    images = getattr(getattr(bio, "metadata", None), "images", None)
    if images:
        pixels = images[min(int(bio.current_scene_index), len(images) - 1)].pixels
        return getattr(pixels, f"physical_size_{axis.lower()}_unit", None)
    properties = getattr(bio, "dimension_properties", None)
    return getattr(getattr(properties, axis, None), "unit", None)


def _in_um(unit: Any) -> float | None:
    """Return how many um a unit is: 1 where none is stated, None for what is no length here."""
    name = str(getattr(unit, "value", unit) or "um").strip().lower()
    return _MICROMETRE.get(name)


def _of_plain_tiff(tif: tifffile.TiffFile) -> Spacing | None:
    """Return the spacing of an ImageJ TIFF; a bare resolution tag says nothing about microscopy."""
    meta = tif.imagej_metadata or {}
    unit = _MICROMETRE.get(str(meta.get("unit", "")).strip().lower())
    if unit is None:
        return None
    if "spacing" not in meta and int(meta.get("slices", 1)) > 1:
        return None  # a stack that does not say how far its planes lie apart
    page = tif.pages.first
    try:
        x, y = (page.tags[name].value for name in ("XResolution", "YResolution"))
        return (float(meta.get("spacing", 1.0)) * unit, y[1] / y[0] * unit, x[1] / x[0] * unit)
    except (KeyError, ZeroDivisionError):
        return None
