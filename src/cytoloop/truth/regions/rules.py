"""Region rules: words that stand for a region and are worked out for each image.

``outside_labels(MARGIN)``
    All that lies outside the bounding box of the labels, grown by MARGIN voxels, or um
    (``5um``): what nobody annotated.
``saturated`` or ``saturated(LEVEL)``
    Voxels that were clipped in any channel; or those from LEVEL upwards.
``labels(ID, ...)``
    The voxels of these labels.
"""

from __future__ import annotations

import math
import re

import numpy as np

from cytoloop.errors import ConfigError, ImageError
from cytoloop.io.voxel_size import Spacing

_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = "um|\u00b5m|\u03bcm"
_RULES = {  # what the arguments look like, and how the rule is written
    "outside_labels": (rf"({_NUMBER})\s*({_UNIT})?", "outside_labels(20) or outside_labels(5um)"),
    "saturated": (rf"({_NUMBER})?", "saturated or saturated(4095)"),
    "labels": (r"(\d+(?:\s*,\s*\d+)*)", "labels(3, 7)"),
}
_DETECTORS = {(1 << bits) - 1 for bits in (8, 10, 12, 14, 16)}  # largest values, by bits
_PILE = 10  # voxels at the largest value that are no accident


def is_rule(text: str) -> bool:
    """Tell whether a text is meant as a region rule, known or not, and not as a path.

    >>> is_rule("saturated"), is_rule("labels(3)"), is_rule("labels"), is_rule("masks/a.npy")
    (True, True, False, False)
    """
    return text.strip() == "saturated" or bool(re.fullmatch(r"\s*\w+\(.*\)\s*", text))


def parse_rule(text: str) -> tuple[str, tuple[str | None, ...]]:
    """Return the name of a rule and its arguments; what can be checked without an image.

    Raises
    ------
    ConfigError
        An unknown rule, or arguments that it does not take.
    """
    found = re.fullmatch(r"\s*(\w+)(?:\((.*)\))?\s*", text)
    name = found[1] if found else ""
    if found is None or name not in _RULES:
        known = "; ".join(usage for _, usage in _RULES.values())
        raise ConfigError(f"region {text!r}", "is no rule", f"Known rules: {known}.")
    pattern, usage = _RULES[name]
    arguments = re.fullmatch(pattern, (found[2] or "").strip())
    if arguments is None:
        raise ConfigError(f"region {text!r}", "has other arguments", f"Expected {usage}.")
    return name, arguments.groups()


def region_from_rule(
    text: str, raw: np.ndarray, labels: np.ndarray, spacing_um: Spacing | None
) -> np.ndarray:
    """Return the voxels of a region rule in one image.

    Parameters
    ----------
    text : str
        For example ``outside_labels(5um)``.
    raw : ndarray
        (C, Z, Y, X) or (C, Y, X), the picture.
    labels : ndarray of unsigned integers
        (Z, Y, X) or (Y, X), its segmentation; 0 is background.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).

    Returns
    -------
    ndarray of bool
        Of the shape of `labels`.

    Raises
    ------
    ConfigError
        No such rule.
    ImageError
        Pictures of two shapes, or a margin in um and no voxel size.
    """
    name, arguments = parse_rule(text)
    if raw.shape[1:] != labels.shape:
        raise ImageError(
            f"region {text!r}",
            f"raw {raw.shape[1:]} and labels {labels.shape} differ in shape",
            "Both must be of the same picture.",
        )
    if name == "saturated":
        level = float(arguments[0]) if arguments[0] else None
        return np.logical_or.reduce([_saturated(channel, level) for channel in raw])
    if name == "labels":
        return np.isin(labels, [int(n) for n in re.findall(r"\d+", arguments[0] or "")])
    size, unit = float(arguments[0] or 0), arguments[1]
    if unit and spacing_um is None:
        raise ImageError(
            f"region {text!r}", "the image has no voxel size", "State it (spacing_um)."
        )
    steps = spacing_um[-labels.ndim :] if unit and spacing_um else (1.0,) * labels.ndim
    return _outside(labels, [math.ceil(size / step - 1e-9) for step in steps])


def _outside(labels: np.ndarray, margins: list[int]) -> np.ndarray:
    """Return what lies outside the box of all labels and its margin; all where there is none."""
    outside = np.ones(labels.shape, bool)
    box = []
    for axis, margin in enumerate(margins):
        others = tuple(n for n in range(labels.ndim) if n != axis)
        filled = np.flatnonzero(labels.any(axis=others))
        if not len(filled):
            return outside
        box.append(slice(max(0, filled[0] - margin), filled[-1] + 1 + margin))
    outside[tuple(box)] = False
    return outside


def _saturated(channel: np.ndarray, level: float | None) -> np.ndarray:
    """Return the voxels from a level upwards; by default from where the picture was clipped.

    A picture was clipped if its largest value is that of its dtype or of a detector of 8 to 16
    bits, or if it has a pile of voxels there: over three times those of the next value.
    """
    if level is not None:
        return channel >= level
    top = channel.max()
    at_top = channel == top
    if channel.dtype.kind in "iu" and int(top) in _DETECTORS | {np.iinfo(channel.dtype).max}:
        return at_top
    below = channel[~at_top]
    pile = np.count_nonzero(at_top)
    clipped = below.size and pile >= _PILE and pile > 3 * np.count_nonzero(below == below.max())
    return at_top if clipped else np.zeros_like(at_top)
