"""The tools that correct objects: how many clicks each needs, and the edit that it makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.truth.edits import (
    Edit,
    add_ball,
    add_predicted,
    box_of,
    delete_objects,
    fill_object,
    interpolate_object,
    merge_objects,
    smooth_object,
    split_object,
)
from cytoloop.viewer.session.corrections import Correction

Point = tuple[float, ...]


@dataclass(frozen=True)
class Tool:
    """A tool that is used by clicks on the image.

    Attributes
    ----------
    name : str
    clicks : int
        Clicks that it needs; 0 for a drawn line.
    help : str
    """

    name: str
    clicks: int
    help: str


TOOLS = (
    Tool("Split", 2, "Click into both parts of an object: it is split in the valley between them."),
    Tool("Cut", 0, "Draw a line across an object: it is split along the line, in all slices."),
    Tool("Join", 2, "Click on two objects: they become one."),
    Tool("Delete", 1, "Click on an object to remove it."),
    Tool("Fill", 1, "Click on an object to fill its holes."),
    Tool("Smooth", 1, "Click on an object to smooth its surface."),
    Tool("Add", 1, "Click on the background: the model's object there is added, else a ball."),
    Tool("Interpolate", 1, "Click on an object: it is redrawn between the two slices below."),
)


@dataclass(frozen=True)
class ToolSettings:
    """Numbers of the tools, and what a model says about the image.

    Attributes
    ----------
    sigma : float
        Of `smooth_object`.
    radius : float
        Of an added ball, in um.
    first, last : int
        Slices between which an object is interpolated.
    predicted : ndarray or None
        ([Z,] Y, X): labels of a model.
    depth : callable
        Returns the distance map of a model, or None; reads a file.
    """

    sigma: float
    radius: float
    first: int
    last: int
    predicted: np.ndarray | None
    depth: Callable[[], np.ndarray | None]


def make_edit(
    name: str, points: Sequence[Point], correction: Correction, settings: ToolSettings
) -> Edit:
    """Return the edit of a tool that was used by clicks.

    Parameters
    ----------
    name : str
        Of the tool.
    points : sequence of points
        The clicks, ([z,] y, x) in voxels.
    correction : Correction
    settings : ToolSettings

    Raises
    ------
    ConfigError
        A click is outside the image or not where the tool needs it.
    """
    labels, spacing = correction.labels, correction.spacing_um
    if name == "Split":
        return split_object(labels, points, spacing, settings.depth())
    if name == "Add":
        predicted, index = settings.predicted, _index(points[0])
        if predicted is not None and _is_inside(index, labels) and predicted[index]:
            return add_predicted(labels, predicted, points[0])
        return add_ball(labels, points[0], settings.radius, spacing)
    numbers = [_number_at(name, labels, point) for point in points]
    if name == "Join":
        return merge_objects(labels, numbers)
    if name == "Delete":
        return delete_objects(labels, numbers)
    if name == "Fill":
        return fill_object(labels, numbers[0])
    if name == "Smooth":
        return smooth_object(labels, numbers[0], settings.sigma, spacing)
    return interpolate_object(labels, numbers[0], settings.first, settings.last)


def edit_of_strokes(labels: np.ndarray, strokes: Sequence[Any]) -> Edit:
    """Return the edit that a stroke of napari's brush has already made.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        After the stroke.
    strokes : sequence
        As napari reports them: (indices, values before, value after), or from napari 0.9 on objects
        with ``slice_key``, ``mask`` and ``old_values``.

    Raises
    ------
    ConfigError
        The stroke changed nothing.
    """
    before = labels.copy()
    for stroke in reversed(strokes):
        if not hasattr(stroke, "slice_key"):
            before[stroke[0]] = stroke[1]
        elif stroke.mask is None:  # all pixels of the box
            part = before[stroke.slice_key]
            part[...] = np.reshape(stroke.old_values, part.shape)
        else:
            part = before[stroke.slice_key]
            part[np.reshape(stroke.mask, part.shape)] = stroke.old_values
    changed = before != labels
    if not changed.any():
        raise ConfigError("paint", "nothing was changed", "")
    box = box_of(changed)
    return Edit("paint", box, before[box], labels[box].copy())


def _index(point: Point) -> tuple[int, ...]:
    return tuple(round(value) for value in point)


def _is_inside(index: tuple[int, ...], labels: np.ndarray) -> bool:
    return all(0 <= i < n for i, n in zip(index, labels.shape, strict=True))


def _number_at(name: str, labels: np.ndarray, point: Point) -> int:
    index = _index(point)
    if not _is_inside(index, labels):
        raise ConfigError(name.lower(), "the click is outside the image", "Click on an object.")
    number = int(labels[index])
    if not number:
        raise ConfigError(name.lower(), "there is no object at the click", "Click on an object.")
    return number
