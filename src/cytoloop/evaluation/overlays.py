"""Pictures of errors: missed, spurious, merged and split objects on the raw image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytoloop.evaluation.evaluate import Evaluation, read_prediction
from cytoloop.evaluation.matching import match_instances
from cytoloop.images import read_image, write_png
from cytoloop.targets import read_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too
COLOURS = {
    "matched": "#009E73",
    "missed": "#56B4E9",
    "spurious": "#D55E00",
    "merged": "#CC79A7",
    "split": "#F0E442",
}


def error_kinds(
    truth: np.ndarray, labels: np.ndarray, valid: np.ndarray | None = None
) -> tuple[dict[int, str], dict[int, str]]:
    """Return what became of each object: a kind of `COLOURS` for true and predicted labels.

    A predicted object that covers more than half of two or more true ones is merged (and so are
    those); a true object that holds two or more predicted ones is split (and so are those).
    """
    matching = match_instances(truth, labels, valid, (0.5,))
    found = matching.overlaps
    true_kinds = {int(i): "missed" for i in found.true_ids}
    predicted_kinds = {int(i): "spurious" for i in found.predicted_ids}
    for kind, places in (
        ("matched", matching.matched[0.5]),
        ("split", np.flatnonzero(found.splitting)),
        ("merged", np.flatnonzero(found.merging)),
    ):
        for t, p in found.pairs[places]:
            true_kinds[int(found.true_ids[t])] = kind
            predicted_kinds[int(found.predicted_ids[p])] = kind
    return true_kinds, predicted_kinds


def write_overlays(evaluation: Evaluation, folder: str | Path, worst: int = 8) -> list[Path]:
    """Draw the worst images (by F1 at .5, then Dice) and return the PNG files.

    Rows whose raw image is not known are drawn on their truth.
    """
    order = sorted(
        range(len(evaluation.rows)),
        key=lambda i: (evaluation.rows[i]["f1_50"], evaluation.rows[i]["dice"]),
    )
    written = []
    for rank, i in enumerate(order[: max(worst, 0)], start=1):
        row, (prediction, true) = evaluation.rows[i], evaluation.pairs[i]
        truth, valid = read_target(true)
        labels = read_prediction(prediction)
        raw = _raw(row["raw"], prediction["channel"] or true["channel"], truth)
        probability = None
        if row["probability"]:
            probability = read_image(row["probability"]).data[0]
        title = f"{row['id']}   Dice {row['dice']:.3f}   F1 {row['f1_50']:.3f}"
        figure = panel(raw, truth, probability, labels, valid, title)
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(row["id"]))
        path = Path(folder) / f"{rank:02d}_{name}.png"
        write_png(path, figure)
        written.append(path)
    return written


def panel(
    raw: np.ndarray,
    truth: np.ndarray,
    probability: np.ndarray | None,
    labels: np.ndarray,
    valid: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Return a figure: raw, truth, probability, labels, errors.

    Parameters
    ----------
    raw : ndarray
        ([Z,] Y, X). Of a stack the plane with the most foreground and, below, the maximum
        through z are shown.
    truth, labels : ndarray of unsigned integers
        Same shape.
    probability : ndarray, optional
        Same shape, any scale.
    valid : ndarray of bool, optional
        Same shape; excluded places are dimmed.
    title : str
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    views = _views(truth)
    columns = ["raw", "truth", *(["probability"] if probability is not None else [])]
    columns += ["labels", "errors"]
    high, wide = truth.shape[-2:]
    size = (2.9 * len(columns), len(views) * 2.9 * min(max(high / wide, 0.4), 1.6) + 1.1)
    figure, axes = plt.subplots(len(views), len(columns), figsize=size, squeeze=False)
    low, top = np.percentile(raw, [1, 99.8])
    kinds = error_kinds(truth, labels, valid)
    for number, (row, (view, cut)) in enumerate(zip(axes, views, strict=True)):
        grey = np.clip((cut(raw) - low) / max(top - low, 1e-6), 0, 1)
        excluded = ~cut(valid) if valid is not None else None
        for axis, name in zip(row, columns, strict=True):
            axis.imshow(grey, cmap="gray", vmin=0, vmax=1)
            if name == "truth":
                _fill(axis, cut(truth))
            elif name == "labels":
                _fill(axis, cut(labels))
            elif name == "probability" and probability is not None:
                axis.imshow(cut(probability), cmap="magma", vmin=0)
            elif name == "errors":
                _errors(axis, cut(truth), cut(labels), *kinds)
            if excluded is not None and name != "raw" and excluded.any():
                veil = np.zeros((*excluded.shape, 4))
                veil[excluded] = (0.25, 0.25, 0.25, 0.85)
                axis.imshow(veil)
            axis.set(xticks=[], yticks=[])
            if number == 0:
                axis.set_title(name)
        row[0].set_ylabel(view)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    figure.suptitle(title, y=1 - 0.1 / size[1], va="top")
    figure.tight_layout(rect=(0, 0.3 / size[1], 1, 1 - 0.15 / size[1]), w_pad=0.4, h_pad=0.4)
    return figure


def _views(truth: np.ndarray) -> list[tuple[str, _Cut]]:
    """Return the named views of an image: itself in 2D; a plane and the maximum in 3D."""
    if truth.ndim == 2:
        return [("", _Cut(None))]
    z = int(np.argmax((truth > 0).sum(axis=(1, 2))))
    return [(f"z = {z}", _Cut(z)), ("maximum through z", _Cut(-1))]


class _Cut:
    """A plane of a stack (or -1: the maximum through z); a 2D image stays as it is."""

    def __init__(self, z: int | None) -> None:
        self.z = z

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.z is None:
            return image
        if self.z >= 0:
            return image[self.z]
        return np.asarray(image.all(axis=0) if image.dtype == bool else image.max(axis=0))


def _fill(axis: Axes, labels: np.ndarray) -> None:
    """Colour each object, neighbours differently."""
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("tab20")((labels.astype(np.int64) * 7) % 20)
    colours[..., 3] = np.where(labels > 0, 0.6, 0)
    axis.imshow(colours)


def _errors(
    axis: Axes,
    truth: np.ndarray,
    labels: np.ndarray,
    true_kinds: dict[int, str],
    predicted_kinds: dict[int, str],
) -> None:
    """Outline true objects (dashed where missed) and predicted ones in the colour of their kind."""
    for side, kinds, shown in (
        (truth, true_kinds, ("missed",)),
        (labels, predicted_kinds, ("matched", "spurious", "merged", "split")),
    ):
        for number in np.unique(side):
            kind = kinds.get(int(number), "")
            if kind in shown:
                style = "dashed" if kind == "missed" else "solid"
                axis.contour(
                    (side == number).astype(float),
                    [0.5],
                    colors=COLOURS[kind],
                    linewidths=1.3,
                    linestyles=style,
                )


def _raw(path: str, channel: str, truth: np.ndarray) -> np.ndarray:
    """Return the first channel of the raw image, or the truth where there is none that fits."""
    if path and Path(path).exists():
        data = read_image(path, channel or 0).data[0]
        if data.shape == truth.shape:
            return data
    return (truth > 0).astype(np.float32)
