"""Figures of one image: raw image, truth, predictions and their errors side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cytoloop.evaluation.counts.error_types import find_error_types
from cytoloop.evaluation.counts.matching import Matching, match_instances
from cytoloop.evaluation.figures.artists import (
    ERROR_COLOURS,
    class_colours,
    fill_classes,
    fill_labels,
    hatch_excluded,
    outline_errors,
)
from cytoloop.evaluation.figures.views import View, choose_views, choose_window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BACKGROUND, _TEXT = "#101014", "#F0F0F0"
_DIMMED_WHITE = 1.6  # white level of columns with outlines: thin lines must stand out
Draw = Callable[["Axes", View], object]
"""Draws a view of an image on an axis, above the raw image."""


def image_figure(
    raw: np.ndarray | None,
    truth: np.ndarray,
    probability: np.ndarray | None,
    labels: np.ndarray,
    valid: np.ndarray | None = None,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Return a figure with raw image, truth, probability, labels and errors.

    A matched object has the same colour in truth and labels. A stack is shown as its middle plane
    with truth and as the maxima through z and y. Grey levels are stretched between percentiles 1
    and 99.8.

    Parameters
    ----------
    raw : ndarray, optional
        ([Z,] Y, X); None shows the true foreground instead.
    truth, labels : ndarray of unsigned integers
        Same shape.
    probability : ndarray, optional
        Same shape, any scale.
    valid : ndarray of bool, optional
        Same shape; excluded voxels are dimmed and hatched.
    title : str
    spacing : sequence of float, optional
        (Z, Y, X) voxel size.

    Raises
    ------
    ImageError
        Truth, labels and valid differ in shape.
    """
    matching = match_instances(truth, labels, valid, (0.5,))
    error_types = find_error_types(matching)
    true_colours, predicted_colours = _colour_numbers(matching)
    truth, labels = _without_excluded(truth, valid), _without_excluded(labels, valid)
    window = choose_window((truth > 0) != (labels > 0))
    title += _describe_window(window, truth.shape)
    raw, truth, probability, labels, valid = (
        _cut(image, window) for image in (raw, truth, probability, labels, valid)
    )
    columns: dict[str, Draw] = {
        "raw": _draw_nothing,
        "truth": lambda axis, view: fill_labels(axis, view(truth), true_colours),
    }
    if probability is not None:
        columns["probability"] = lambda axis, view: axis.imshow(
            view(probability), cmap="magma", vmin=0
        )
    columns["labels"] = lambda axis, view: fill_labels(axis, view(labels), predicted_colours)
    columns["errors"] = _outliner(truth, labels, error_types)
    figure = _draw_columns(columns, raw, truth, labels, valid, title, spacing)
    counts = _count_error_types(*error_types)
    _add_legend(figure, {f"{name} {counts[name]}": c for name, c in ERROR_COLOURS.items()})
    return figure


def comparison_figure(
    raw: np.ndarray | None,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    valid: np.ndarray | None = None,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Return a figure with the raw image and the errors of several predictions.

    Parameters
    ----------
    raw, truth, valid, title, spacing
        See `image_figure`.
    predictions : mapping of str to ndarray
        Name to labels ([Z,] Y, X).

    Raises
    ------
    ImageError
        Shapes differ.
    """
    columns: dict[str, Draw] = {"raw": _draw_nothing}
    counts = []
    first = next(iter(predictions.values()))
    window = choose_window((_without_excluded(truth, valid) > 0) != (first > 0))
    shown = _cut(_without_excluded(truth, valid), window)
    for name, labels in predictions.items():
        error_types = find_error_types(match_instances(truth, labels, valid, (0.5,)))
        counts.append(_count_error_types(*error_types))
        columns[f"errors of {name}"] = _outliner(
            shown, _cut(_without_excluded(labels, valid), window), error_types
        )
    title += _describe_window(window, truth.shape)
    raw, truth, first, valid = (_cut(image, window) for image in (raw, truth, first, valid))
    figure = _draw_columns(columns, raw, truth, first, valid, title, spacing)
    numbers = {name: " / ".join(str(one[name]) for one in counts) for name in ERROR_COLOURS}
    _add_legend(figure, {f"{name} {numbers[name]}": c for name, c in ERROR_COLOURS.items()})
    return figure


def class_figure(
    raw: np.ndarray | None,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    names: Sequence[str],
    valid: np.ndarray | None = None,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Return a figure with raw image and true classes, then each prediction and its errors.

    A wrong voxel has the colour of its true class, or of its predicted class where the truth is
    background.

    Parameters
    ----------
    raw, valid, title, spacing
        See `image_figure`.
    truth : ndarray of unsigned integers
        ([Z,] Y, X); 0 = background, 1 = first class.
    predictions : mapping of str to ndarray
        Name to classes ([Z,] Y, X).
    names : sequence of str
        Classes.
    """
    truth = _without_excluded(truth, valid)
    first = _without_excluded(next(iter(predictions.values())), valid)
    window = choose_window(truth != first)
    title += _describe_window(window, truth.shape)
    raw, truth, first = (_cut(image, window) for image in (raw, truth, first))
    columns: dict[str, Draw] = {"raw": _draw_nothing, "truth": _class_filler(truth)}
    for name, prediction in predictions.items():
        found = _cut(_without_excluded(prediction, valid), window)
        wrong = np.where(truth == found, 0, np.where(truth > 0, truth, found))
        columns |= {name: _class_filler(found), f"errors of {name}": _class_filler(wrong)}
    figure = _draw_columns(columns, raw, truth, first, _cut(valid, window), title, spacing)
    _add_legend(figure, dict(zip(names, class_colours(len(names)), strict=True)))
    return figure


def _without_excluded(labels: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return labels without excluded voxels, which would hide others in a projection."""
    return labels if valid is None else np.where(valid, labels, 0)


def _cut(image: Any, window: tuple[slice, slice]) -> Any:
    """Return the part of an image ([Z,] Y, X) that is drawn; None without an image."""
    return None if image is None else image[(..., *window)]


def _describe_window(window: tuple[slice, slice], shape: tuple[int, ...]) -> str:
    """Return which part of an image is drawn, for the title; "" for all of it."""
    if all(part.stop - part.start == n for part, n in zip(window, shape[-2:], strict=True)):
        return ""
    y, x = (f"{part.start} to {part.stop - 1}" for part in window)
    return f" (part with most errors: y {y}, x {x})"


def _draw_nothing(axis: Axes, view: View) -> None:
    pass


def _outliner(
    truth: np.ndarray, labels: np.ndarray, error_types: tuple[dict[int, str], dict[int, str]]
) -> Draw:
    return lambda axis, view: outline_errors(axis, view(truth), view(labels), *error_types)


def _class_filler(classes: np.ndarray) -> Draw:
    return lambda axis, view: fill_classes(axis, view(classes))


def _draw_columns(
    columns: Mapping[str, Draw],
    raw: np.ndarray | None,
    truth: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray | None,
    title: str,
    spacing: Sequence[float] | None,
) -> Figure:
    """Return a figure with a row for each view and a column for each way to draw it."""
    from matplotlib.figure import Figure  # not pyplot, which would change the caller's backend

    foreground = (truth if truth.any() else labels) > 0
    views = choose_views(foreground if valid is None else foreground & valid, spacing)
    heights = [min(max(view.aspect(truth.shape), 0.25), 1.6) for view in views]
    size = (2.9 * len(columns), 2.9 * sum(heights) + 1.1)
    figure = Figure(figsize=size, facecolor=_BACKGROUND)
    axes = figure.subplots(
        len(views), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    shown = (truth > 0).astype(np.float32) if raw is None else raw
    low, high = np.percentile(shown, [1, 99.8])
    for number, (row, view) in enumerate(zip(axes, views, strict=True)):
        grey = np.clip((view(shown) - low) / max(high - low, 1e-6), 0, 1)
        for axis, (name, draw) in zip(row, columns.items(), strict=True):
            white = _DIMMED_WHITE if "errors" in name else 1.0
            axis.imshow(grey, cmap="gray", vmin=0, vmax=white)
            draw(axis, view)
            if valid is not None:
                hatch_excluded(axis, ~view(valid))
            axis.set(xticks=[], yticks=[], aspect=view.pixel_aspect)
            for spine in axis.spines.values():
                spine.set_color("#3A3A40")
            if number == 0:
                axis.set_title(name, color=_TEXT, fontsize=12)
        row[0].set_ylabel(view.name, color=_TEXT)
    figure.suptitle(title, y=1 - 0.1 / size[1], va="top", color=_TEXT, fontsize=13)
    figure.tight_layout(rect=(0, 0.35 / size[1], 1, 1 - 0.1 / size[1]), w_pad=0.4, h_pad=0.4)
    return figure


def _colour_numbers(matching: Matching) -> tuple[dict[int, int], dict[int, int]]:
    """Return a colour number for each true and predicted label; a matched pair shares one."""
    overlaps = matching.overlaps
    true = {int(label): i for i, label in enumerate(overlaps.true_ids)}
    predicted = {int(label): len(true) + i for i, label in enumerate(overlaps.predicted_ids)}
    for true_position, predicted_position in overlaps.pairs[matching.matched[0.5]]:
        predicted[int(overlaps.predicted_ids[predicted_position])] = int(true_position)
    return true, predicted


def _count_error_types(
    true_types: Mapping[int, str], predicted_types: Mapping[int, str]
) -> dict[str, int]:
    """Return the number of objects of each type: predicted ones of spurious and merged."""
    true, predicted = Counter(true_types.values()), Counter(predicted_types.values())
    of_predicted = ("spurious", "merged")
    return {name: (predicted if name in of_predicted else true)[name] for name in ERROR_COLOURS}


def _add_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """Add a legend below a figure: label to colour."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for label, colour in colours.items()]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=min(len(handles), 6),
        frameon=False,
        labelcolor=_TEXT,
    )
