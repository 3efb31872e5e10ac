"""Voxel size and origin of an image: one rule for all formats.

A voxel size is positive and finite, or it is unknown. What a file states otherwise is repaired or
dropped with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cytoloop.io.notes import note
from cytoloop.io.units import states_no_length, unit_in_um

Spacing = tuple[float, float, float]
"""Voxel size (Z, Y, X) in um."""

StatedSize = tuple[float | None, str | None]
"""A length as a file states it, and its unit."""

_SMALLEST_UM, _LARGEST_UM = 1e-5, 1e3
"""Voxel sizes outside this range, 0.01 nm to 1 mm, are hardly meant."""


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


def decide_spacing(
    path: str | Path, sizes: Mapping[str, StatedSize], is_stack: bool
) -> Spacing | None:
    """Return the voxel size (Z, Y, X) in um, None if it is unknown.

    Parameters
    ----------
    path : str or Path
        For warnings.
    sizes : mapping
        Axis (``Z``, ``Y``, ``X``) to the size that the file states and its unit.
    is_stack : bool
        Without a stack, the thickness is 1 um where it is unknown.
    """
    found = {
        axis: _size_in_um(path, axis, *sizes.get(axis, (None, None)), axis != "Z" or is_stack)
        for axis in "ZYX"
    }
    z, y, x = (found[axis] for axis in "ZYX")
    if y is None or x is None or (z is None and is_stack):
        return None
    spacing = (z or 1.0, y, x)
    used = spacing if is_stack else spacing[1:]
    if any(not _SMALLEST_UM <= size <= _LARGEST_UM for size in used):
        text = " x ".join(f"{size:g}" for size in used)
        note(path, f"states voxels of {text} um. Check it, and set spacing_um=[z,y,x] if wrong")
    return spacing


def _size_in_um(
    path: str | Path, axis: str, value: float | None, unit: str | None, is_used: bool
) -> float | None:
    """Return one size in um; None if it is not stated or cannot be a size."""
    if value is None or states_no_length(unit):
        return None
    factor = unit_in_um(unit)
    text = ""
    try:
        size = float(value)
    except (TypeError, ValueError):
        size = math.nan
    if not math.isfinite(size) or size == 0:
        text = f"states the voxel size {value} in {axis}, which is taken as unknown"
    elif factor is None:
        text = f"states the voxel size in {unit!r}, which is no known unit; it is taken as unknown"
    elif not 0 < abs(size) * factor < math.inf:
        text = f"states the voxel size {value} {unit} in {axis}, which is taken as unknown"
    elif size < 0:
        note_if(is_used, path, f"states the voxel size {value} in {axis}: the sign is dropped")
    if text:
        note_if(is_used, path, text)
        return None
    return abs(size) * float(factor or 1.0)


def note_if(condition: bool, path: str | Path, text: str) -> None:
    """Note a warning about an image if a condition holds."""
    if condition:
        note(path, text)


def decide_origin(
    path: str | Path, origin: Mapping[str, StatedSize], is_stack: bool
) -> Spacing | None:
    """Return the origin (Z, Y, X) in um; None for 0.

    Raises
    ------
    ValueError
        A coordinate is not a finite number.
    """
    found = []
    for axis in "ZYX":
        value, unit = origin.get(axis, (None, None))
        value = float(value or 0.0)
        if not math.isfinite(value):
            raise ValueError(f"its translation is {value}, expected a finite number")
        found.append(value * (unit_in_um(unit) or 0.0))
    return (found[0], found[1], found[2]) if any(found) else None
