"""Edits that split an object: by points inside its parts, or along a line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cytoloop.errors import ConfigError
from cytoloop.truth.edits.edit import Edit, box_of, edit_of, index_of, next_number, object_at

Point = Sequence[float]


def split_object(
    labels: np.ndarray,
    points: Sequence[Point],
    spacing_um: Sequence[float] | None = None,
    depth: np.ndarray | None = None,
) -> Edit:
    """Return the edit that splits an object into as many parts as there are points.

    The parts meet in the valley of a depth map between the points (watershed). The first part
    keeps the number.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    points : sequence of points
        ([z,] y, x) in voxels, two or more, all inside one object.
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X); None for cubic voxels.
    depth : ndarray, optional
        Same shape: distance map of a model, high inside objects. None: the distance to the
        object's surface.

    Raises
    ------
    ConfigError
        Fewer than two points, points in the background, in different objects or in one voxel.
    """
    if len(points) < 2:
        raise ConfigError(
            "split", f"{len(points)} point was set", "Click once into each part of the object."
        )
    numbers = [object_at("split", labels, point) for point in points]
    if len(set(numbers)) > 1:
        raise ConfigError(
            "split",
            f"the points lie in different objects: {', '.join(map(str, dict.fromkeys(numbers)))}",
            "Click into the parts of one object.",
        )
    voxels = [index_of("split", labels, point) for point in points]
    if len(set(voxels)) < len(voxels):
        raise ConfigError("split", "two points are the same voxel", "Click into different parts.")
    from skimage.segmentation import watershed

    mask = labels == numbers[0]
    box = box_of(mask)
    inside = mask[box]
    landscape = _distance(inside, spacing_um) if depth is None else depth[box].astype(np.float32)
    markers = np.zeros(inside.shape, np.int32)
    for marker, voxel in enumerate(voxels, start=1):
        markers[tuple(v - s.start for v, s in zip(voxel, box, strict=True))] = marker
    return _edit(labels, box, numbers[0], watershed(-landscape, markers, mask=inside))


def cut_object(labels: np.ndarray, line: Sequence[Point]) -> Edit:
    """Return the edit that splits an object along a line, through all its planes.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    line : sequence of points
        Vertices ([z,] y, x) in voxels. The object is the one under most of the line.

    Raises
    ------
    ConfigError
        The line crosses no object, or does not cut through it.
    """
    trace = _voxels_of_line(labels, line)
    numbers = labels[trace]
    crossed, counts = np.unique(numbers[numbers > 0], return_counts=True)
    if not len(crossed):
        raise ConfigError("split", "the line crosses no object", "Draw it across an object.")
    number = int(crossed[np.argmax(counts)])
    mask = labels == number
    box = box_of(mask)
    inside = mask[box]
    cut = np.zeros(labels.shape[-2:], bool)
    cut[trace[-2:]] = True
    # wide enough that no diagonal step connects the two sides
    cut = ndimage.binary_dilation(cut, np.ones((2, 2), bool))[box[-2:]]
    sides, count = ndimage.label(inside & ~cut)
    if count < 2:
        raise ConfigError(
            "split",
            f"the line does not cut through object {number}",
            "Start and end the line outside the object.",
        )
    sizes = np.bincount(sides.ravel())[1:]
    kept = np.argsort(-sizes, kind="stable")[:2] + 1  # crumbs beside the line join a side
    markers = np.where(sides == kept[0], 1, 0) + np.where(sides == kept[1], 2, 0)
    nearest = ndimage.distance_transform_edt(
        markers == 0, return_distances=False, return_indices=True
    )
    return _edit(labels, box, number, np.where(inside, markers[tuple(nearest)], 0))


def _edit(labels: np.ndarray, box: tuple[slice, ...], number: int, parts: np.ndarray) -> Edit:
    """Return the edit that numbers the parts 1..n of an object."""
    new = np.arange(parts.max() + 1) + next_number(labels) - 2
    new[1] = number
    after = np.where(parts > 0, new[parts], labels[box])
    return edit_of(f"split object {number}", labels, box, after)


def _distance(mask: np.ndarray, spacing_um: Sequence[float] | None) -> np.ndarray:
    """Return the distance to the surface of a mask, also at the border of its box."""
    import edt

    sides = np.asarray(spacing_um or (1.0,) * 3, float)[-mask.ndim :]
    anisotropy = tuple(float(side) for side in sides / sides.min())
    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy, black_border=True))


def _voxels_of_line(labels: np.ndarray, line: Sequence[Point]) -> tuple[np.ndarray, ...]:
    """Return the voxels of the image under a line."""
    from skimage.draw import line_nd

    points = [np.asarray(point, float) for point in line]
    pieces = [line_nd(one, other, endpoint=True) for one, other in itertools.pairwise(points)]
    if not pieces:
        raise ConfigError("split", "the line has one point", "Draw a line across the object.")
    voxels = np.concatenate([np.stack(piece) for piece in pieces], axis=1)
    shape = np.array(labels.shape)[:, None]
    voxels = voxels[:, ((voxels >= 0) & (voxels < shape)).all(axis=0)]
    return tuple(voxels)
