"""Voxel size and origin of an image file.

The resolution tag of a TIFF alone is not a voxel size: image editors write 72 dpi, which would be
353 um. It counts only if the ImageJ metadata states a unit of length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

Spacing = tuple[float, float, float]
"""Voxel size (Z, Y, X) in um."""


@dataclass(frozen=True)
class Grid:
    """Voxel size and origin of an image.

    Attributes
    ----------
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um; None if unknown.
    origin_um : tuple of float or None
        Centre of the first voxel (Z, Y, X) in um: the ``translation`` of NGFF, which viewers
        apply. None means 0.
    """

    spacing_um: Spacing | None = None
    origin_um: Spacing | None = None


_MICROMETRE_NAMES = ("um", "\u00b5m", "\u03bcm", "\\u00b5m", "micron", "microns")
_UNITS_IN_UM = {
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys((*_MICROMETRE_NAMES, "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    "cm": 1e4,
}
"""Size of a unit of length in um. ImageJ writes the micro sign escaped."""


def read_spacing(path: str | Path, bio: Any) -> Spacing | None:
    """Return the voxel size (Z, Y, X) in um, None if the file states none."""
    file = Path(path)
    if file.name.lower().endswith((".tif", ".tiff")):
        with tifffile.TiffFile(file) as tif:
            if not tif.is_ome:
                return _plain_tiff_spacing(tif)
    try:
        size = bio.physical_pixel_sizes
    except Exception:  # bioio_czi raises if the CZI has no scale
        return None
    if not size.Y or not size.X or (not size.Z and int(bio.dims["Z"][0]) > 1):
        return None
    factors = [_in_um(_unit(bio, axis)) for axis in "ZYX"]
    if None in factors[1:] or (size.Z and factors[0] is None):
        return None
    z, y, x = (f or 1.0 for f in factors)
    return (float(size.Z or 1.0) * z, float(size.Y) * y, float(size.X) * x)


def read_origin(path: str | Path, bio: Any, level: int = 0) -> Spacing | None:
    """Return the origin of an OME-Zarr level, (Z, Y, X) in um; None for 0 and for other formats.

    The transformations of the level are applied before those of the whole pyramid (NGFF 0.4,
    section 3.4). Stage positions of an OME-TIFF are ignored, as viewers do.
    """
    if not Path(path).is_dir():
        return None
    import zarr

    attributes = zarr.open_group(str(path), mode="r").attrs.asdict()
    metadata: Any = attributes.get("ome", attributes)  # "ome" since version 0.5
    scene = metadata["multiscales"][bio.current_scene_index]
    axes = [str(axis.get("name", "")).upper() for axis in scene.get("axes", [])]
    of_level, of_pyramid = _transforms(scene["datasets"][level]), _transforms(scene)
    origin = []
    for axis in "ZYX":
        factor = _in_um(_unit(bio, axis))
        if axis not in axes or factor is None:
            origin.append(0.0)
            continue
        number = axes.index(axis)
        scale = _value(of_pyramid, "scale", number, 1.0)
        moved = scale * _value(of_level, "translation", number, 0.0)
        origin.append((moved + _value(of_pyramid, "translation", number, 0.0)) * factor)
    return (origin[0], origin[1], origin[2]) if any(origin) else None


def _transforms(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the coordinate transformations of a level or of a pyramid."""
    found = metadata.get("coordinateTransformations", [])
    return [transform for transform in found if isinstance(transform, Mapping)]


def _value(transforms: Sequence[Mapping[str, Any]], kind: str, axis: int, default: float) -> float:
    """Return the value of an axis in the first transformation of a kind.

    Raises
    ------
    ValueError
        The value is not a finite number.
    """
    values: Sequence[float] = next((one[kind] for one in transforms if kind in one), ())
    value = float(values[axis]) if axis < len(values) else default
    if not math.isfinite(value):
        raise ValueError(f"its {kind} is {value}, expected a finite number")
    return value


def _unit(bio: Any, axis: str) -> Any:
    """Return the unit of an axis: from the OME-XML, else from bioio's reader."""
    images = getattr(getattr(bio, "metadata", None), "images", None)
    if images:
        pixels = images[min(int(bio.current_scene_index), len(images) - 1)].pixels
        return getattr(pixels, f"physical_size_{axis.lower()}_unit", None)
    properties = getattr(bio, "dimension_properties", None)
    return getattr(getattr(properties, axis, None), "unit", None)


def _in_um(unit: Any) -> float | None:
    """Return the size of a unit in um: 1 if no unit is stated, None for an unknown unit."""
    name = str(getattr(unit, "value", unit) or "um").strip().lower()
    return _UNITS_IN_UM.get(name)


def _plain_tiff_spacing(tif: tifffile.TiffFile) -> Spacing | None:
    """Return the voxel size of an ImageJ TIFF, None for a TIFF without ImageJ's unit."""
    meta = tif.imagej_metadata or {}
    unit = _UNITS_IN_UM.get(str(meta.get("unit", "")).strip().lower())
    if unit is None:
        return None
    if "spacing" not in meta and int(meta.get("slices", 1)) > 1:
        return None  # a stack without a z step
    page = tif.pages.first
    try:
        x, y = (page.tags[name].value for name in ("XResolution", "YResolution"))
        return (float(meta.get("spacing", 1.0)) * unit, y[1] / y[0] * unit, x[1] / x[0] * unit)
    except (KeyError, ZeroDivisionError):
        return None
