"""Pictures of one image: what was predicted, and what became of each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cytoloop.evaluation.counts.error_types import kinds_of
from cytoloop.evaluation.counts.matching import Matching, match_instances
from cytoloop.evaluation.figures.artists import COLOURS, fill, outline_errors, veil
from cytoloop.evaluation.figures.views import View, views_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BACKGROUND, _TEXT = "#101014", "#F0F0F0"
_DIMMED = 1.6  # white of pictures with outlines: thin lines must stand out
Paint = Callable[["Axes", View], object]
"""Draws a view on an axis."""


def image_figure(
    raw: np.ndarray,
    truth: np.ndarray,
    probability: np.ndarray | None,
    labels: np.ndarray,
    valid: np.ndarray | None = None,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Return a figure: raw, truth, probability, labels, errors.

    A matched object has one colour in truth and labels.

    Parameters
    ----------
    raw : ndarray
        ([Z,] Y, X). Of a stack the middle one of the planes with counted truth, the maximum
        through z and that through y are shown, with grey levels stretched between percentiles 1
        and 99.8.
    truth, labels : ndarray of unsigned integers
        Same shape.
    probability : ndarray, optional
        Same shape, any scale.
    valid : ndarray of bool, optional
        Same shape; excluded places are dimmed and hatched.
    title : str
    spacing : sequence of float, optional
        (Z, Y, X) voxel size.

    Raises
    ------
    ImageError
        Truth, labels and valid differ in shape.
    """
    matching = match_instances(truth, labels, valid, (0.5,))
    kinds = kinds_of(matching)
    true, predicted = _object_colours(matching)
    truth, labels = _counted(truth, valid), _counted(labels, valid)
    columns: dict[str, Paint] = {
        "raw": lambda axis, view: None,
        "truth": lambda axis, view: fill(axis, view(truth), true),
    }
    if probability is not None:
        columns["probability"] = lambda axis, view: axis.imshow(
            view(probability), cmap="magma", vmin=0
        )
    columns["labels"] = lambda axis, view: fill(axis, view(labels), predicted)
    columns["errors"] = lambda axis, view: outline_errors(axis, view(truth), view(labels), *kinds)
    figure = draw_views(raw, truth, labels, valid, title, spacing, columns)
    counted = _kind_counts(*kinds).items()
    legend(figure, [(COLOURS[kind], f"{kind} {count}") for kind, count in counted])
    return figure


def side_by_side(
    raw: np.ndarray,
    truth: np.ndarray,
    labels: Mapping[str, np.ndarray],
    valid: np.ndarray | None = None,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Return a figure: raw, and the errors of several segmentations of one image.

    Parameters
    ----------
    raw, truth, valid, title, spacing
        See `image_figure`.
    labels : mapping of str to ndarray
        Name to labels ([Z,] Y, X).

    Raises
    ------
    ImageError
        Shapes differ.
    """
    columns: dict[str, Paint] = {"raw": lambda axis, view: None}
    counts = []
    seen = _counted(truth, valid)
    for name, found in labels.items():
        kinds = kinds_of(match_instances(truth, found, valid, (0.5,)))
        counts.append(_kind_counts(*kinds))
        columns[f"errors of {name}"] = _outliner(seen, _counted(found, valid), kinds)
    first = next(iter(labels.values()))
    figure = draw_views(raw, truth, first, valid, title, spacing, columns)
    told = {kind: " / ".join(str(one[kind]) for one in counts) for kind in COLOURS}
    legend(figure, [(COLOURS[kind], f"{kind} {text}") for kind, text in told.items()])
    return figure


def _counted(labels: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return labels without what is excluded, which would hide others in a projection."""
    return labels if valid is None else np.where(valid, labels, 0)


def _outliner(
    truth: np.ndarray, labels: np.ndarray, kinds: tuple[dict[int, str], dict[int, str]]
) -> Paint:
    return lambda axis, view: outline_errors(axis, view(truth), view(labels), *kinds)


def draw_views(
    raw: np.ndarray,
    truth: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray | None,
    title: str,
    spacing: Sequence[float] | None,
    columns: Mapping[str, Paint],
) -> Figure:
    """Return a figure with a row for each view and a column for each way to paint it."""
    from matplotlib.figure import Figure  # no pyplot: the caller's backend stays as it is

    shown = (truth if truth.any() else labels) > 0
    views = views_of(shown if valid is None else shown & valid, spacing)
    heights = [min(max(view.height(truth.shape), 0.25), 1.6) for view in views]
    size = (2.9 * len(columns), 2.9 * sum(heights) + 1.1)
    figure = Figure(figsize=size, facecolor=_BACKGROUND)
    axes = figure.subplots(
        len(views), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    low, top = np.percentile(raw, [1, 99.8])
    for number, (row, view) in enumerate(zip(axes, views, strict=True)):
        grey = np.clip((view(raw) - low) / max(top - low, 1e-6), 0, 1)
        for axis, (name, paint) in zip(row, columns.items(), strict=True):
            axis.imshow(grey, cmap="gray", vmin=0, vmax=_DIMMED if "errors" in name else 1.0)
            paint(axis, view)
            if valid is not None:
                veil(axis, ~view(valid))
            axis.set(xticks=[], yticks=[], aspect=view.pixel)
            for spine in axis.spines.values():
                spine.set_color("#3A3A40")
            if number == 0:
                axis.set_title(name, color=_TEXT, fontsize=12)
        row[0].set_ylabel(view.name, color=_TEXT)
    figure.suptitle(title, y=1 - 0.1 / size[1], va="top", color=_TEXT, fontsize=13)
    figure.tight_layout(rect=(0, 0.35 / size[1], 1, 1 - 0.1 / size[1]), w_pad=0.4, h_pad=0.4)
    return figure


def _object_colours(matching: Matching) -> tuple[dict[int, int], dict[int, int]]:
    """Return a colour number for each label; a matched pair shares one."""
    found = matching.overlaps
    true = {int(label): i for i, label in enumerate(found.true_ids)}
    first = len(true)
    predicted = {int(label): first + i for i, label in enumerate(found.predicted_ids)}
    for t, p in found.pairs[matching.matched[0.5]]:
        predicted[int(found.predicted_ids[p])] = int(t)
    return true, predicted


def _kind_counts(
    true_kinds: Mapping[int, str], predicted_kinds: Mapping[int, str]
) -> dict[str, int]:
    """Return the number of objects of each kind: merged and spurious ones are predicted."""
    true, predicted = Counter(true_kinds.values()), Counter(predicted_kinds.values())
    return {kind: (predicted if kind in ("spurious", "merged") else true)[kind] for kind in COLOURS}


def legend(figure: Figure, labels: Sequence[tuple[str, str]]) -> None:
    """Explain colours, each with its label."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for colour, label in labels]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=min(len(handles), 6),
        frameon=False,
        labelcolor=_TEXT,
    )
