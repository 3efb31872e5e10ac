"""Functions that draw labels on a matplotlib axis: filled, outlined by error type, hatched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# palette of Okabe and Ito, for colour-blind readers too
ERROR_COLOURS = {
    "matched": "#009E73",
    "inexact": "#EEEEEE",
    "missed": "#56B4E9",
    "spurious": "#D55E00",
    "merged": "#CC79A7",
    "split": "#F0E442",
}
"""Colour of each error type, see `cytoloop.evaluation.counts.error_types`."""

_CLASS_COLOURS = ("#F0E442", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def fill_labels(axis: Axes, labels: np.ndarray, numbers: Mapping[int, int]) -> None:
    """Fill the labels (Y, X) that have a colour number.

    Hues of successive numbers lie a golden angle apart, so that neighbours differ.
    """
    from matplotlib.colors import hsv_to_rgb

    ids, positions = np.unique(labels, return_inverse=True)
    number = np.array([numbers.get(int(i), -1) for i in ids])
    hues = (number * 0.618034) % 1
    shades = np.stack([hues, np.full(len(ids), 0.7), np.where(number % 2, 1.0, 0.85)], axis=1)
    table = np.concatenate([hsv_to_rgb(shades), np.where(number < 0, 0, 0.6)[:, None]], axis=1)
    table = np.round(table * 255).astype(np.uint8)
    axis.imshow(table[positions.reshape(labels.shape)])


def class_colours(count: int) -> list[str]:
    """Return a colour for each class; they repeat after the end of the palette."""
    return [_CLASS_COLOURS[number % len(_CLASS_COLOURS)] for number in range(count)]


def fill_classes(axis: Axes, classes: np.ndarray) -> None:
    """Fill the classes (Y, X) with their colours; 0 stays transparent."""
    from matplotlib.colors import to_rgba

    colours = [(0, 0, 0, 0), *(to_rgba(one, 0.6) for one in class_colours(int(classes.max())))]
    axis.imshow(np.array(colours)[classes])


def outline_errors(
    axis: Axes,
    truth: np.ndarray,
    labels: np.ndarray,
    true_types: Mapping[int, str],
    predicted_types: Mapping[int, str],
) -> None:
    """Outline objects (Y, X) in the colour of their error type.

    Predicted objects are solid, missed objects dashed, merged true objects dotted.
    """
    outlines = _outlines(labels, predicted_types)
    for error_type in ("matched", "inexact", "split", "merged", "spurious"):
        _draw_lines(axis, outlines.get(error_type, []), error_type, "solid", 1.3)
    outlines = _outlines(truth, true_types)
    for error_type, style, width in (("merged", "dotted", 0.8), ("missed", "dashed", 1.3)):
        _draw_lines(axis, outlines.get(error_type, []), error_type, style, width)


def _outlines(labels: np.ndarray, error_types: Mapping[int, str]) -> dict[str, list[np.ndarray]]:
    """Return the outlines of the objects of a plane, each (N, 2) as (x, y), by error type."""
    ids, positions = np.unique(labels, return_inverse=True)
    numbered = positions.reshape(labels.shape) + 1  # find_objects ignores 0
    found: dict[str, list[np.ndarray]] = {}
    for label, window in zip(ids, ndimage.find_objects(numbered), strict=True):
        error_type = error_types.get(int(label)) if label else None
        if error_type is not None:
            crop = np.pad(labels[window] == label, 1).astype(np.float32)
            corner = np.array([part.start - 1 for part in window])
            found.setdefault(error_type, []).extend(
                (line + corner)[:, ::-1] for line in find_contours(crop, 0.5)
            )
    return found


def _draw_lines(
    axis: Axes, lines: list[np.ndarray], error_type: str, style: str, width: float
) -> None:
    from matplotlib.collections import LineCollection

    colour = ERROR_COLOURS[error_type]
    collection = LineCollection(lines, colors=colour, linewidths=width, linestyles=style)
    axis.add_collection(collection, autolim=False)


def hatch_excluded(axis: Axes, excluded: np.ndarray) -> None:
    """Dim and hatch the excluded region (Y, X)."""
    y, x = np.indices(excluded.shape)
    period = max(4, max(excluded.shape) // 24)
    stripe = (x + y) % period < max(1, period // 4)
    shade = np.zeros((*excluded.shape, 4))
    shade[excluded] = (0.06, 0.06, 0.08, 0.65)
    shade[excluded & stripe] = (0.55, 0.55, 0.6, 0.45)
    axis.imshow(shade)
