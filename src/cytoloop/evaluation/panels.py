"""The picture of one image: raw, truth, probability, labels, and what became of each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from cytoloop.evaluation.kinds import kinds_of
from cytoloop.evaluation.matching import Matching, match_instances

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too
COLOURS = {
    "matched": "#009E73",
    "inexact": "#EEEEEE",
    "missed": "#56B4E9",
    "spurious": "#D55E00",
    "merged": "#CC79A7",
    "split": "#F0E442",
}
_BACKGROUND, _TEXT = "#101014", "#F0F0F0"


def panel(
    raw: np.ndarray,
    truth: np.ndarray,
    probability: np.ndarray | None,
    labels: np.ndarray,
    valid: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Return a figure: raw, truth, probability, labels, errors.

    A matched object has one colour in truth and labels.

    Parameters
    ----------
    raw : ndarray
        ([Z,] Y, X). Of a stack the plane with the most counted truth and, below, the maximum
        through z are shown, with grey levels stretched between percentiles 1 and 99.8.
    truth, labels : ndarray of unsigned integers
        Same shape.
    probability : ndarray, optional
        Same shape, any scale.
    valid : ndarray of bool, optional
        Same shape; excluded places are dimmed and hatched.
    title : str

    Raises
    ------
    ImageError
        Truth, labels and valid differ in shape.
    """
    from matplotlib.figure import Figure  # no pyplot: the caller's backend stays as it is

    matching = match_instances(truth, labels, valid, (0.5,))
    kinds = kinds_of(matching)
    colours = _object_colours(truth, labels, matching)
    views = _views(truth, labels, valid)
    columns = ["raw", "truth", *(["probability"] if probability is not None else [])]
    columns += ["labels", "errors"]
    high, wide = truth.shape[-2:]
    size = (2.9 * len(columns), len(views) * 2.9 * min(max(high / wide, 0.4), 1.6) + 1.1)
    figure = Figure(figsize=size, facecolor=_BACKGROUND)
    axes = figure.subplots(len(views), len(columns), squeeze=False)
    low, top = np.percentile(raw, [1, 99.8])
    for number, (row, (view, cut)) in enumerate(zip(axes, views, strict=True)):
        grey = np.clip((cut(raw) - low) / max(top - low, 1e-6), 0, 1)
        for axis, name in zip(row, columns, strict=True):
            dimmed = 1.6 if name == "errors" else 1.0  # thin lines must stand out
            axis.imshow(grey, cmap="gray", vmin=0, vmax=dimmed)
            if name == "truth":
                _fill(axis, cut(truth), colours[0])
            elif name == "labels":
                _fill(axis, cut(labels), colours[1])
            elif name == "probability" and probability is not None:
                axis.imshow(cut(probability), cmap="magma", vmin=0)
            elif name == "errors":
                _errors(axis, cut(truth), cut(labels), *kinds)
            if valid is not None:
                _veil(axis, ~cut(valid))
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_color("#3A3A40")
            if number == 0:
                axis.set_title(name, color=_TEXT, fontsize=12)
        row[0].set_ylabel(view, color=_TEXT)
    _legend(figure, kinds)
    figure.suptitle(title, y=1 - 0.1 / size[1], va="top", color=_TEXT, fontsize=13)
    figure.tight_layout(rect=(0, 0.35 / size[1], 1, 1 - 0.1 / size[1]), w_pad=0.4, h_pad=0.4)
    return figure


def _views(
    truth: np.ndarray, labels: np.ndarray, valid: np.ndarray | None
) -> list[tuple[str, _Cut]]:
    """Return the named views of an image: itself in 2D; a plane and the maximum in 3D."""
    if truth.ndim == 2:
        return [("", _Cut(None))]
    shown = (truth if truth.any() else labels) > 0
    if valid is not None:
        shown = shown & valid
    z = int(np.argmax(shown.sum(axis=(1, 2)))) if shown.any() else len(truth) // 2
    return [(f"z = {z}", _Cut(z)), ("maximum through z", _Cut(-1))]


class _Cut:
    """A plane of a stack (or -1: the maximum through z); a 2D image stays as it is."""

    def __init__(self, z: int | None) -> None:
        self.z = z

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.z is None:
            return image
        return image[self.z] if self.z >= 0 else np.asarray(image.max(axis=0))


def _object_colours(
    truth: np.ndarray, labels: np.ndarray, matching: Matching
) -> tuple[dict[int, int], dict[int, int]]:
    """Return a colour number for each label; a matched pair shares one."""
    found = matching.overlaps
    true = {int(label): i for i, label in enumerate(found.true_ids)}
    first = len(true)
    predicted = {int(label): first + i for i, label in enumerate(found.predicted_ids)}
    for t, p in found.pairs[matching.matched[0.5]]:
        predicted[int(found.predicted_ids[p])] = int(t)
    return true, predicted


def _fill(axis: Axes, labels: np.ndarray, numbers: Mapping[int, int]) -> None:
    """Colour each object that counts; hues a golden angle apart keep neighbours different."""
    from matplotlib.colors import hsv_to_rgb

    ids, places = np.unique(labels, return_inverse=True)
    number = np.array([numbers.get(int(i), -1) for i in ids])
    hues = (number * 0.618034) % 1
    shades = np.stack([hues, np.full(len(ids), 0.7), np.where(number % 2, 1.0, 0.85)], axis=1)
    table = np.concatenate([hsv_to_rgb(shades), np.where(number < 0, 0, 0.6)[:, None]], axis=1)
    axis.imshow(table[places.reshape(labels.shape)])


def _errors(
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


def _veil(axis: Axes, excluded: np.ndarray) -> None:
    """Dim and hatch what is excluded."""
    y, x = np.indices(excluded.shape)
    period = max(4, max(excluded.shape) // 24)
    stripe = (x + y) % period < max(1, period // 4)
    veil = np.zeros((*excluded.shape, 4))
    veil[excluded] = (0.06, 0.06, 0.08, 0.65)
    veil[excluded & stripe] = (0.55, 0.55, 0.6, 0.45)
    axis.imshow(veil)


def _legend(figure: Figure, kinds: tuple[dict[int, str], dict[int, str]]) -> None:
    """Explain the colours of the errors, with the number of objects of each kind."""
    from matplotlib.patches import Patch

    true, predicted = (Counter(side.values()) for side in kinds)
    handles = []
    for kind, colour in COLOURS.items():
        count = predicted[kind] if kind in ("spurious", "merged") else true[kind]
        handles.append(Patch(color=colour, label=f"{kind} {count}"))
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, labelcolor=_TEXT
    )
