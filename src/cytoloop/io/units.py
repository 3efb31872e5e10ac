"""Units of length of every format, in um."""

from __future__ import annotations

import functools
import re
from typing import Any

_MICROMETRES = ("", "um", "micrometer", "micrometre", "micron", "microns")
_OTHER_NAMES = {
    "li": ("inch", 1 / 12),  # a line; pint's li is a link
    "line": ("inch", 1 / 12),
    "pt": ("inch", 1 / 72),  # a point; pint's pt is a pint
    "point": ("inch", 1 / 72),
    "ua": ("astronomical_unit", 1.0),
    "inches": ("inch", 1.0),
    "feet": ("foot", 1.0),
}
"""Names of OME and ImageJ that pint takes for something else: pint's unit, and how many."""
_NO_LENGTH = ("pixel", "pixels", "px", "voxel", "referenceframe", "unknown", "none", "gray value")
"""Units that say that the size is unknown."""


def unit_in_um(unit: Any) -> float | None:
    """Return the size of a unit of length in um; None for pixels and unknown units.

    Parameters
    ----------
    unit : str or None
        A symbol of OME (``Å``, ``li``), a name of NGFF (``angstrom``), or a text of ImageJ; None
        and "" are um.
    """
    return _in_um(str(getattr(unit, "value", unit) or "").strip())


def states_no_length(unit: Any) -> bool:
    """Return whether a unit says that the size is not known, such as ``pixel``."""
    text = str(getattr(unit, "value", unit) or "").replace(" ", "").replace("_", "").lower()
    return text in _NO_LENGTH


@functools.cache
def _in_um(text: str) -> float | None:
    # ImageJ writes the micro sign and the angstrom escaped; there are two micro signs
    name = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), text)
    name = re.sub("^[\u00b5\u03bc]", "u", name).replace("\u212b", "\u00c5")
    if name.lower() in _MICROMETRES:
        return 1.0
    if not re.fullmatch(r"[A-Za-z\u00c5\u00e5]{1,20}", name) or states_no_length(name):
        return None
    for candidate in (name, name.lower()):
        known, count = _OTHER_NAMES.get(candidate, (candidate, 1.0))
        if (size := _parse(known)) is not None:
            return size * count
    return None


def _parse(text: str) -> float | None:
    """Return the size of a unit in um, by pint."""
    import pint

    try:
        return float(_registry().Quantity(1.0, text).to("micrometer").magnitude)
    except (pint.PintError, ValueError, AttributeError, TypeError):
        return None


@functools.cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(cache_folder=None)
