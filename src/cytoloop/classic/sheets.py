"""Sheets of a workflow: what each step does, and what two parameters change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cytoloop.classic.workflow import Workflow

_COLUMNS = 4
_MAX_SIDE = 512
"""Pixels of the part of a large image that is shown."""


def shown_plane(data: np.ndarray) -> np.ndarray:
    """Return the plane (Y, X) of a stack with the most contrast; a picture as it is."""
    if data.ndim == 2:
        return data
    return np.asarray(data[int(np.argmax(data.reshape(len(data), -1).astype(float).std(1)))])


def plane_number(data: np.ndarray) -> int | None:
    """Return the number of the plane that `shown_plane` shows; None for a picture."""
    if data.ndim == 2:
        return None
    return int(np.argmax(data.reshape(len(data), -1).astype(float).std(1)))


def steps_sheet(data: np.ndarray, results: Sequence[tuple[str, np.ndarray]]) -> object:
    """Return a figure of the input and the result of each step, in one plane.

    Parameters
    ----------
    data : numpy.ndarray
        Grey levels ([Z,] Y, X).
    results : sequence of (str, numpy.ndarray)
        From `Workflow.run`.
    """
    import matplotlib.pyplot as plt

    number = plane_number(data)
    pictures = [("input", data), *results]
    rows = -(-len(pictures) // _COLUMNS)
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(3 * _COLUMNS, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.ravel():
        axis.axis("off")
    for axis, (name, one) in zip(axes.ravel(), pictures, strict=False):
        _draw(axis, one if number is None else one[number], name)
    return figure


def sweep_sheet(
    data: np.ndarray,
    spacing_um: tuple[float, ...],
    grid: Sequence[Sequence[tuple[str, Workflow]]],
) -> object:
    """Return a figure of the objects of several workflows over the input, one plane each.

    Parameters
    ----------
    data : numpy.ndarray
        Grey levels ([Z,] Y, X).
    spacing_um : tuple of float
        Voxel size of these axes.
    grid : sequence of rows of (str, Workflow)
        Title and workflow of each thumbnail.
    """
    import matplotlib.pyplot as plt

    number = plane_number(data)
    columns = max(map(len, grid))
    figure, axes = plt.subplots(
        len(grid), columns, figsize=(3 * columns, 3.3 * len(grid)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    grey = data if number is None else data[number]
    for line, row in zip(axes, grid, strict=True):
        for axis, (title, workflow) in zip(line, row, strict=True):
            labels = workflow.run(data, spacing_um)[-1][1]
            count = int(labels.max())
            _draw(axis, grey, f"{title}: {count} objects")
            _outline(axis, labels if number is None else labels[number])
            axis.axis("off")
    return figure


def _draw(axis: object, picture: np.ndarray, title: str) -> None:
    picture = picture[:_MAX_SIDE, :_MAX_SIDE]
    if picture.dtype == bool:
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)  # type: ignore[attr-defined]
    elif picture.dtype.kind == "i":
        shown = np.ma.masked_equal(picture, 0)
        axis.imshow(shown % 20, cmap="tab20", vmin=0, vmax=19, interpolation="nearest")  # type: ignore[attr-defined]
    else:
        high = float(np.percentile(picture, 99.8))
        axis.imshow(picture, cmap="gray", vmin=float(picture.min()), vmax=max(high, 1e-6))  # type: ignore[attr-defined]
    axis.set_title(title, fontsize=9)  # type: ignore[attr-defined]


def _outline(axis: object, labels: np.ndarray) -> None:
    labels = labels[:_MAX_SIDE, :_MAX_SIDE]
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    shown = np.ma.masked_equal(edge, False)
    axis.imshow(shown, cmap="autumn", vmin=0, vmax=2, interpolation="nearest")  # type: ignore[attr-defined]
