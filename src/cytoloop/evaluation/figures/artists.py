"""Objects painted on an axis: filled, outlined by what became of them, veiled where excluded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by colour-blind readers too
COLOURS = {
    "matched": "#009E73",
    "inexact": "#EEEEEE",
    "missed": "#56B4E9",
    "spurious": "#D55E00",
    "merged": "#CC79A7",
    "split": "#F0E442",
}

_CLASSES = ("#F0E442", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def fill(axis: Axes, labels: np.ndarray, numbers: Mapping[int, int]) -> None:
    """Colour each object that counts; hues a golden angle apart keep neighbours different."""
    from matplotlib.colors import hsv_to_rgb

    ids, places = np.unique(labels, return_inverse=True)
    number = np.array([numbers.get(int(i), -1) for i in ids])
    hues = (number * 0.618034) % 1
    shades = np.stack([hues, np.full(len(ids), 0.7), np.where(number % 2, 1.0, 0.85)], axis=1)
    table = np.concatenate([hsv_to_rgb(shades), np.where(number < 0, 0, 0.6)[:, None]], axis=1)
    axis.imshow(table[places.reshape(labels.shape)])


def class_colours(count: int) -> list[str]:
    """Return a colour for each class; those beyond the palette start anew."""
    return [_CLASSES[number % len(_CLASSES)] for number in range(count)]


def paint_classes(axis: Axes, classes: np.ndarray) -> None:
    """Colour each class of a view (Y, X); 0 is left as it is."""
    from matplotlib.colors import to_rgba

    colours = [(0, 0, 0, 0), *(to_rgba(one, 0.6) for one in class_colours(int(classes.max())))]
    axis.imshow(np.array(colours)[classes])


def outline_errors(
    axis: Axes,
    truth: np.ndarray,
    labels: np.ndarray,
    true_kinds: Mapping[int, str],
    predicted_kinds: Mapping[int, str],
) -> None:
    """Outline objects in the colour of their kind: predicted ones solid, missed ones dashed."""
    outlines = _outlines(labels, predicted_kinds)
    for kind in ("matched", "inexact", "split", "merged", "spurious"):
        _lines(axis, outlines.get(kind, []), kind, "solid", 1.3)
    outlines = _outlines(truth, true_kinds)
    for kind, style, width in (("merged", "dotted", 0.8), ("missed", "dashed", 1.3)):
        _lines(axis, outlines.get(kind, []), kind, style, width)


def _outlines(labels: np.ndarray, kinds: Mapping[int, str]) -> dict[str, list[np.ndarray]]:
    """Return the outlines (N, 2) as (x, y) of a plane's objects, by kind."""
    ids, places = np.unique(labels, return_inverse=True)
    numbered = places.reshape(labels.shape) + 1  # find_objects passes over 0
    found: dict[str, list[np.ndarray]] = {}
    for label, window in zip(ids, ndimage.find_objects(numbered), strict=True):
        kind = kinds.get(int(label)) if label else None
        if kind is not None:
            crop = np.pad(labels[window] == label, 1).astype(np.float32)
            corner = np.array([part.start - 1 for part in window])
            found.setdefault(kind, []).extend(
                (line + corner)[:, ::-1] for line in find_contours(crop, 0.5)
            )
    return found


def _lines(axis: Axes, lines: list[np.ndarray], kind: str, style: str, width: float) -> None:
    from matplotlib.collections import LineCollection

    axis.add_collection(
        LineCollection(lines, colors=COLOURS[kind], linewidths=width, linestyles=style),
        autolim=False,
    )


def veil(axis: Axes, excluded: np.ndarray) -> None:
    """Dim and hatch what is excluded."""
    y, x = np.indices(excluded.shape)
    period = max(4, max(excluded.shape) // 24)
    stripe = (x + y) % period < max(1, period // 4)
    veil = np.zeros((*excluded.shape, 4))
    veil[excluded] = (0.06, 0.06, 0.08, 0.65)
    veil[excluded & stripe] = (0.55, 0.55, 0.6, 0.45)
    axis.imshow(veil)
