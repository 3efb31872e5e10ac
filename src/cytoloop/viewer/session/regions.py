"""Regions that a curator draws: shapes and brush strokes to one mask file, in a range of slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cytoloop.curation.decisions.drawn import UNFINISHED, is_unfinished, write_drawn
from cytoloop.curation.decisions.latest import Decision
from cytoloop.errors import ConfigError
from cytoloop.io.voxel_size import Spacing
from cytoloop.truth.edits import interpolate_masks
from cytoloop.truth.regions import Polygon, polygons_to_mask, read_region
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.decide import decide
from cytoloop.viewer.session.history import Action

SCOPES = ("this slice", "slices from - to", "all slices")


@dataclass(frozen=True)
class Shape:
    """A shape of napari.

    Attributes
    ----------
    kind : str
        ``polygon``, ``rectangle`` or ``ellipse``.
    vertices : ndarray of float
        (vertices, 2 or 3), ([z,] y, x) in voxels; of an ellipse the corners of its box.
    """

    kind: str
    vertices: np.ndarray


def outline(shape: Shape) -> np.ndarray:
    """Return the outline (vertices, 2), (y, x), of a shape.

    Raises
    ------
    ConfigError
        The shape has no area.
    """
    points = np.asarray(shape.vertices, float)[:, -2:]
    if shape.kind not in ("polygon", "rectangle", "ellipse"):
        raise ConfigError(
            "region", f"a {shape.kind} has no area", "Draw a polygon, a rectangle or an ellipse."
        )
    if shape.kind != "ellipse":
        return points
    centre = points.mean(axis=0)
    one, other = (points[1] - points[0]) / 2, (points[3] - points[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * one + np.sin(angle) * other)


def planes_of_shapes(
    shapes: Sequence[Shape], shape: tuple[int, ...], plane: int
) -> dict[int, np.ndarray]:
    """Return the mask (Y, X) of each plane in which shapes were drawn.

    Parameters
    ----------
    shapes : sequence of Shape
    shape : tuple of int
        ([Z,] Y, X) of the image.
    plane : int
        Plane of shapes that state none.

    Raises
    ------
    ConfigError
        No shape, or a shape without an area.
    """
    drawn: dict[int, list[Polygon]] = {}
    for one in shapes:
        vertices = np.asarray(one.vertices, float)
        z = round(float(vertices[:, 0].mean())) if vertices.shape[1] == 3 else plane
        drawn.setdefault(z if len(shape) == 3 else 0, []).append(Polygon(outline(one)))
    if not drawn:
        raise ConfigError("region", "nothing is drawn", "Draw a region on the image first.")
    return {z: polygons_to_mask(polygons, shape[-2:]) for z, polygons in drawn.items()}


def planes_of_brush(painted: np.ndarray) -> dict[int, np.ndarray]:
    """Return the mask (Y, X) of each plane in which something was painted.

    Raises
    ------
    ConfigError
        Nothing is painted.
    """
    stack = painted if painted.ndim == 3 else painted[None]
    drawn = {z: stack[z] > 0 for z in map(int, np.flatnonzero(stack.any(axis=(1, 2))))}
    if not drawn:
        raise ConfigError("region", "nothing is painted", "Paint on the image first.")
    return drawn


def region_mask(
    planes: Mapping[int, np.ndarray], shape: tuple[int, ...], scope: str, first: int, last: int
) -> np.ndarray:
    """Return the mask of a region: 2D for all slices, else ([Z,] Y, X).

    Parameters
    ----------
    planes : mapping of int to ndarray of bool
        What was drawn, by plane.
    shape : tuple of int
        ([Z,] Y, X).
    scope : str
        One of `SCOPES`. In a range, one drawn plane is repeated, several are interpolated.
    first, last : int
        The range, from 0, both included.

    Raises
    ------
    ConfigError
        The region is empty, or the range does not fit the image.
    """
    if len(shape) == 2 or scope == "all slices":
        mask = np.any(list(planes.values()), axis=0)
    elif scope == "this slice":
        mask = np.zeros(shape, bool)
        for z, plane in planes.items():
            if 0 <= z < shape[0]:
                mask[z] = plane
    else:
        first, last = sorted((first, last))
        if not 0 <= first <= last < shape[0]:
            raise ConfigError(
                "region", f"slices {first} to {last}", f"The image has slices 0 to {shape[0] - 1}."
            )
        if len(planes) == 1:
            planes = {z: next(iter(planes.values())) for z in (first, last)}
        mask = interpolate_masks(dict(planes), shape[0])
        mask[:first], mask[last + 1 :] = False, False
    if not mask.any():
        raise ConfigError(
            "region", "covers no pixel of the image", "Draw it on the image, in these slices."
        )
    return np.asarray(mask)


def add_region(
    dataset: Dataset,
    row_id: str,
    kind: str,
    mask: np.ndarray,
    spacing_um: Spacing | None,
    opposite: np.ndarray,
) -> Action:
    """Add a drawn region to the decisions on an image.

    Parameters
    ----------
    dataset : Dataset
    row_id : str
    kind : str
        ``exclude`` or ``merge``.
    mask : ndarray of bool
        (Y, X) for all slices, or ([Z,] Y, X).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    opposite : ndarray of bool
        ([Z,] Y, X): what is excluded already, for a merging region, and the other way round.

    Raises
    ------
    ConfigError
        A voxel would be in regions of both kinds; or merging without a second segmentation.
    """
    row = dataset.entry(row_id).row
    if kind == "merge" and not row["seg2"]:
        raise ConfigError(
            row_id, "has one segmentation, merging needs two", "Exclude the region instead."
        )
    overlap = int(np.count_nonzero(np.broadcast_to(mask, opposite.shape) & opposite))
    if overlap:
        other = "excluded" if kind == "merge" else "merged"
        raise ConfigError(
            row_id,
            f"{overlap} voxels of the region are already {other}",
            "Draw it beside that region, or take that region back.",
        )
    path = write_drawn(dataset.folder, row_id, kind, mask, spacing_um)
    now = dataset.decision(row_id)
    new = with_regions(now, kind, (*getattr(now, kind), path))
    return decide(dataset, row_id, new, f"{kind} a region")


def clear_regions(dataset: Dataset, row_id: str, kind: str) -> Action:
    """Take back all regions of a kind that curators drew on an image.

    Raises
    ------
    ConfigError
        There is none.
    """
    now = dataset.decision(row_id)
    if not getattr(now, kind):
        raise ConfigError(row_id, f"no {kind} region was drawn", "")
    return decide(dataset, row_id, with_regions(now, kind, ()), f"clear {kind} regions")


def with_regions(decision: Decision, kind: str, parts: tuple[str, ...]) -> Decision:
    """Return a decision with other regions of a kind, ``exclude`` or ``merge``."""
    if kind == "exclude":
        return replace(decision, exclude=parts)
    return replace(decision, merge=parts)


def finish(
    dataset: Dataset,
    row_id: str,
    finished: np.ndarray | None,
    shape: tuple[int, ...],
    spacing_um: Spacing | None,
) -> Action:
    """Mark a part of an image as finished; everything that is not finished is excluded.

    Parameters
    ----------
    dataset : Dataset
    row_id : str
    finished : ndarray of bool or None
        ([Z,] Y, X) or (Y, X) for all slices; None: the whole image.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    """
    now = dataset.decision(row_id)
    earlier = [part for part in now.exclude if is_unfinished(part)]
    others = tuple(part for part in now.exclude if not is_unfinished(part))
    unfinished = np.ones(shape, bool)
    for part in earlier:
        unfinished &= read_region(part, shape)
    parts = others
    if finished is None:
        unfinished[:] = False
    else:
        unfinished &= ~np.broadcast_to(finished, shape)
    if unfinished.any():
        path = write_drawn(dataset.folder, row_id, UNFINISHED, unfinished, spacing_um)
        parts = (*others, path)
    return decide(dataset, row_id, replace(now, exclude=parts), "mark as finished")
