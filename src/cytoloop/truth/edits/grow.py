"""Edits that change the outline of an object, or add one: fill, smooth, add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cytoloop.errors import ConfigError
from cytoloop.truth.edits.edit import (
    Edit,
    box_of,
    edit_of,
    index_of,
    next_number,
    require_objects,
)


def fill_object(labels: np.ndarray, number: int) -> Edit:
    """Return the edit that fills the holes of an object.

    A hole is background that the object encloses within one plane (Y, X). Other objects in a hole
    stay.

    Raises
    ------
    ConfigError
        No such object, or it has no hole.
    """
    number = require_objects("fill", labels, [number])[0]
    mask = labels == number
    box = box_of(mask)
    inside = mask[box]
    planes = inside if inside.ndim == 3 else inside[None]
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in planes]).reshape(inside.shape)
    part = labels[box]
    after = np.where(filled & (part == 0), labels.dtype.type(number), part)
    return edit_of(f"fill holes of object {number}", labels, box, after)


def smooth_object(
    labels: np.ndarray,
    number: int,
    sigma: float = 1.0,
    spacing_um: Sequence[float] | None = None,
) -> Edit:
    """Return the edit that smooths the surface of an object.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    number : int
    sigma : float
        Of the Gaussian filter on the object's mask, in units of the shortest voxel side.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X); None for cubic voxels.

    Raises
    ------
    ConfigError
        No such object, or smoothing would remove it.
    """
    number = require_objects("smooth", labels, [number])[0]
    sides = np.asarray(spacing_um or (1.0,) * 3, float)[-labels.ndim :]
    sigmas = sigma / (sides / sides.min())
    mask = labels == number
    box = box_of(mask, margin=int(np.ceil(4 * sigma)))
    part = labels[box]
    smooth = ndimage.gaussian_filter(mask[box].astype(np.float32), sigmas, mode="nearest") > 0.5
    smooth &= (part == 0) | (part == number)
    if not smooth.any():
        raise ConfigError(
            "smooth", f"object {number} is too small and would vanish", "Take a smaller radius."
        )
    after = np.where(part == number, labels.dtype.type(0), part)
    after[smooth] = number
    return edit_of(f"smooth object {number}", labels, box, after)


def add_ball(
    labels: np.ndarray,
    point: Sequence[float],
    radius_um: float,
    spacing_um: Sequence[float] | None = None,
) -> Edit:
    """Return the edit that adds a ball (2D: a disk) around a point; other objects stay.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    point : sequence of float
        ([z,] y, x) in voxels.
    radius_um : float
        In um; in voxels without a voxel size.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X).

    Raises
    ------
    ConfigError
        The point is outside the image or in an object.
    """
    centre = index_of("add", labels, point)
    if labels[centre]:
        raise ConfigError(
            "add",
            f"object {labels[centre]} is already there",
            "Click on the background, or delete that object first.",
        )
    sides = np.asarray(spacing_um or (1.0,) * 3, float)[-labels.ndim :]
    reach = [int(np.ceil(radius_um / side)) for side in sides]
    box = tuple(
        slice(max(c - r, 0), min(c + r + 1, n))
        for c, r, n in zip(centre, reach, labels.shape, strict=True)
    )
    grid = np.ogrid[box]
    distance = sum(((g - c) * side) ** 2 for g, c, side in zip(grid, centre, sides, strict=True))
    ball = np.asarray(distance <= radius_um**2)
    ball[tuple(c - s.start for c, s in zip(centre, box, strict=True))] = True
    number = next_number(labels)
    part = labels[box]
    after = np.where(ball & (part == 0), labels.dtype.type(number), part)
    return edit_of(f"add object {number}", labels, box, after)


def add_predicted(labels: np.ndarray, predicted: np.ndarray, point: Sequence[float]) -> Edit:
    """Return the edit that adds the predicted object at a point; other objects stay.

    Parameters
    ----------
    labels, predicted : ndarray of unsigned integers
        ([Z,] Y, X), same shape.
    point : sequence of float
        ([z,] y, x) in voxels.

    Raises
    ------
    ConfigError
        The prediction has no object there, or all of its voxels belong to other objects.
    """
    index = index_of("add", labels, point)
    found = int(predicted[index])
    if not found:
        raise ConfigError(
            "add",
            "the prediction has no object there",
            "Click on an object of the layer prediction, or add a ball.",
        )
    mask = predicted == found
    box = box_of(mask)
    part = labels[box]
    number = next_number(labels)
    after = np.where(mask[box] & (part == 0), labels.dtype.type(number), part)
    return edit_of(f"add object {number}", labels, box, after)
