"""Region rules: expressions that compute a region from each image.

``outside_labels(MARGIN)``
    All voxels outside the bounding box of the labels, enlarged by MARGIN voxels or um (``5um``).
    Use it to exclude what nobody annotated.
``saturated`` or ``saturated(LEVEL)``
    Voxels that are clipped in any channel, or voxels of grey level LEVEL and above.
``labels(ID, ...)``
    The voxels of these labels.
``outside_box(Y, X)`` or ``outside_box(Z, Y, X)``
    All voxels outside a box of ranges, ``outside_box(:, 0:600)``; from 0, the end is outside.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ImageError
from cytoloop.io.voxel_size import Spacing

_RANGE = r"\d*\s*:\s*\d*"
_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = "um|\u00b5m|\u03bcm"
_RULES = {  # pattern of the arguments, and usage
    "outside_labels": (rf"({_NUMBER})\s*({_UNIT})?", "outside_labels(20) or outside_labels(5um)"),
    "saturated": (rf"({_NUMBER})?", "saturated or saturated(4095)"),
    "labels": (r"(\d+(?:\s*,\s*\d+)*)", "labels(3, 7)"),
    "outside_box": (rf"({_RANGE}(?:\s*,\s*{_RANGE}){{1,2}})", "outside_box(0:600, :)"),
}
_DETECTOR_MAXIMA = {(1 << bits) - 1 for bits in (8, 10, 12, 14, 16)}
_MIN_CLIPPED = 10
"""Minimum number of voxels at the maximum from which they can be clipped."""


def is_rule(text: str) -> bool:
    """Return whether a text looks like a region rule, known or unknown, rather than a path.

    >>> is_rule("saturated"), is_rule("labels(3)"), is_rule("labels"), is_rule("masks/a.npy")
    (True, True, False, False)
    """
    return text.strip() == "saturated" or bool(re.fullmatch(r"\s*\w+\(.*\)\s*", text))


def parse_rule(text: str) -> tuple[str, tuple[str | None, ...]]:
    """Return the name and the arguments of a rule, without looking at an image.

    Raises
    ------
    ConfigError
        An unknown rule, or invalid arguments.
    """
    found = re.fullmatch(r"\s*(\w+)(?:\((.*)\))?\s*", text)
    name = found[1] if found else ""
    if found is None or name not in _RULES:
        known = "; ".join(usage for _, usage in _RULES.values())
        raise ConfigError(f"region {text!r}", "is not a known rule", f"Known rules: {known}.")
    pattern, usage = _RULES[name]
    arguments = re.fullmatch(pattern, (found[2] or "").strip())
    if arguments is None:
        raise ConfigError(f"region {text!r}", "has invalid arguments", f"Expected {usage}.")
    return name, arguments.groups()


def region_from_rule(
    text: str, raw: np.ndarray, labels: np.ndarray, spacing_um: Spacing | None
) -> np.ndarray:
    """Return the voxels of a region rule in an image.

    Parameters
    ----------
    text : str
        For example ``outside_labels(5um)``.
    raw : ndarray
        (C, Z, Y, X) or (C, Y, X), raw image.
    labels : ndarray of unsigned integers
        (Z, Y, X) or (Y, X), its segmentation; 0 is background.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um.

    Returns
    -------
    ndarray of bool
        Shape of `labels`.

    Raises
    ------
    ConfigError
        Unknown rule.
    ImageError
        Raw image and labels differ in shape, or a margin is in um and the voxel size is unknown.
    """
    name, arguments = parse_rule(text)
    if raw.shape[1:] != labels.shape:
        raise ImageError(
            f"region {text!r}",
            f"raw {raw.shape[1:]} and labels {labels.shape} differ in shape",
            "Give raw image and labels of the same image.",
        )
    if name == "saturated":
        level = float(arguments[0]) if arguments[0] else None
        return np.logical_or.reduce([_saturated(channel, level) for channel in raw])
    if name == "labels":
        return np.isin(labels, [int(n) for n in re.findall(r"\d+", arguments[0] or "")])
    if name == "outside_box":
        return _outside_box(text, labels.shape)
    size, unit = float(arguments[0] or 0), arguments[1]
    if unit and spacing_um is None:
        raise ImageError(
            f"region {text!r}", "the image has no voxel size", "Set it with spacing_um."
        )
    sides = spacing_um[-labels.ndim :] if unit and spacing_um else (1.0,) * labels.ndim
    return _outside(labels, [math.ceil(size / side - 1e-9) for side in sides])


def box_of_rule(text: str) -> tuple[slice, ...] | None:
    """Return the box ([Z,] Y, X) of a rule ``outside_box``, None for any other region.

    >>> box_of_rule("outside_box(:, 3:9)")
    (slice(None, None, None), slice(3, 9, None))
    """
    if not is_rule(text) or not text.strip().startswith("outside_box"):
        return None
    sides = [part.split(":") for part in (parse_rule(text)[1][0] or "").split(",")]
    ends = [[int(end) if end.strip() else None for end in side] for side in sides]
    return tuple(slice(start, stop) for start, stop in ends)


def box_rules(cell: str) -> list[str]:
    """Return the rules ``outside_box`` of a cell ``exclude``: the row is a part of its image.

    >>> box_rules("a.npy; outside_box(:, 3:9)")
    ['outside_box(:, 3:9)']
    """
    rules = (one.strip() for one in cell.split(";"))
    return [rule for rule in rules if box_of_rule(rule)]


def _outside_box(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the voxels outside a box; a box (Y, X) applies to all planes of a stack."""
    box = box_of_rule(text) or ()
    if len(box) > len(shape):
        raise ImageError(
            f"region {text!r}", f"has 3 ranges, but the image is {len(shape)}D", "Give two ranges."
        )
    outside = np.ones(shape, bool)
    inside: Any = (Ellipsis, *box)
    outside[inside] = False
    return outside


def _outside(labels: np.ndarray, margins: list[int]) -> np.ndarray:
    """Return the voxels outside the enlarged bounding box of all labels; all without labels."""
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
    """Return the voxels of a grey level and above; by default, the clipped voxels.

    Voxels at the maximum are clipped if the maximum is that of the dtype or of a detector of 8 to
    16 bits. They are also clipped if there are 10 or more, and more than three times as many as
    voxels at the second largest value.
    """
    if level is not None:
        return channel >= level
    top = channel.max()
    at_top = channel == top
    if channel.dtype.kind in "iu" and int(top) in _DETECTOR_MAXIMA | {np.iinfo(channel.dtype).max}:
        return at_top
    below = channel[~at_top]
    count = np.count_nonzero(at_top)
    clipped = (
        below.size and count >= _MIN_CLIPPED and count > 3 * np.count_nonzero(below == below.max())
    )
    return at_top if clipped else np.zeros_like(at_top)
