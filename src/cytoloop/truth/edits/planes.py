"""Interpolation between planes: of an object that was redrawn, and of regions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from cytoloop.errors import ConfigError
from cytoloop.truth.edits.edit import Edit, box_of, edit_of, require_objects


def interpolate_masks(drawn: Mapping[int, np.ndarray], planes: int) -> np.ndarray:
    """Return a mask for all planes between drawn ones.

    Between two drawn planes, the signed distances to their outlines are interpolated linearly
    (shape-based interpolation, Raya and Udupa 1990). The centre moves along a straight line, so
    that outlines which do not overlap are connected, too.

    Parameters
    ----------
    drawn : mapping of int to ndarray of bool
        Plane, from 0, to its mask (Y, X).
    planes : int
        Number of planes.

    Returns
    -------
    ndarray of bool
        (Z, Y, X); planes before the first and behind the last drawn one are empty.
    """
    known = sorted(drawn)
    shape = drawn[known[0]].shape
    result = np.zeros((planes, *shape), bool)
    for z in known:
        result[z] = drawn[z]
    for low, high in itertools.pairwise(known):
        sides = [(_signed_distance(drawn[z]), _centre(drawn[z])) for z in (low, high)]
        for z in range(low + 1, high):
            fraction = (z - low) / (high - low)
            centre = (1 - fraction) * sides[0][1] + fraction * sides[1][1]
            below, above = (
                ndimage.shift(distance, centre - own, order=1, mode="nearest")
                for distance, own in sides
            )
            result[z] = (1 - fraction) * below + fraction * above > 0
    return result


def interpolate_object(labels: np.ndarray, number: int, first: int, last: int) -> Edit:
    """Return the edit that redraws an object between two planes from its outlines in them.

    Other objects stay.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        (Z, Y, X).
    number : int
    first, last : int
        Planes, from 0, in which the object is drawn.

    Raises
    ------
    ConfigError
        The image has one plane, the object is missing in one of the planes, or no plane lies
        between them.
    """
    number = require_objects("interpolate", labels, [number])[0]
    if labels.ndim != 3:
        raise ConfigError("interpolate", "this image has one plane", "Interpolation needs a stack.")
    first, last = sorted((first, last))
    if not 0 <= first < last < len(labels) or last - first < 2:
        raise ConfigError(
            "interpolate",
            f"no plane lies between {first} and {last}",
            "Choose two planes with at least one between them.",
        )
    drawn = {z: labels[z] == number for z in (first, last)}
    missing = [str(z) for z, mask in drawn.items() if not mask.any()]
    if missing:
        raise ConfigError(
            "interpolate",
            f"object {number} is not in plane {' and '.join(missing)}",
            "Paint it there first.",
        )
    mask = labels[first : last + 1] == number
    yx = box_of(mask | drawn[first] | drawn[last])[1:]
    box = (slice(first + 1, last), *yx)
    shapes = {0: drawn[first][yx], last - first: drawn[last][yx]}
    between = interpolate_masks(shapes, last - first + 1)[1:-1]
    part = labels[box]
    after = np.where(part == number, labels.dtype.type(0), part)
    after[between & (after == 0)] = number
    text = f"interpolate object {number} between planes {first} and {last}"
    return edit_of(text, labels, box, after)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the outline, positive inside."""
    outside = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, 1e6)
    inside = ndimage.distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, 1e6)
    return np.asarray(inside - outside)


def _centre(mask: np.ndarray) -> np.ndarray:
    """Return the centre (y, x) of a mask; that of the plane if it is empty."""
    found = np.argwhere(mask)
    return found.mean(axis=0) if len(found) else (np.array(mask.shape) - 1) / 2
