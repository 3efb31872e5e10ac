"""Charts of an evaluation: F1 against IoU, scores of images and groups, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytoloop.evaluation.metrics import OBJECT_SCORE, VOXEL_SCORE, label_of
from cytoloop.io.writers.png import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cytoloop.evaluation.evaluate import Evaluation

TITLES = {
    "f1_against_iou": "F1 against IoU",
    "scores": "Score by image and group",
    "reliability": "Reliability of the probability",
    "dice_against_threshold": "Dice against threshold",
}
"""Title of each chart, by the name of its file."""

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#888888"
_MAX_GROUPS = 30


def write_charts(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Draw the charts and return the PNG files; charts of probability only with maps."""
    summary = evaluation.summary
    figures = {
        "f1_against_iou": f1_against_iou(summary["by_iou"]),
        "scores": scores_by_group(evaluation.rows),
    }
    if "calibration" in summary:
        figures["reliability"] = reliability_diagram(summary["calibration"])
        figures["dice_against_threshold"] = dice_against_threshold(summary["calibration"])
    written = []
    for name, figure in figures.items():
        path = Path(folder) / f"{name}.png"
        write_png(path, figure)
        written.append(path)
    return written


def f1_against_iou(points: Sequence[Mapping[str, float]]) -> Figure:
    """Return a chart of pooled F1 and AP against the IoU of a match."""
    figure, axis = new_chart("IoU of a match", "pooled score")
    iou = [point["iou"] for point in points]
    for key, label, colour in (("f1", "F1", _BLUE), ("ap", "AP", _ORANGE)):
        axis.plot(iou, [p[key] for p in points], "o-", color=colour, label=label, markersize=4)
    axis.set(ylim=(0, 1.02), xticks=iou[::2])
    axis.legend(frameon=False)
    return figure


def scores_by_group(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return a chart of the two main scores of every image, by group, the lowest F1 first."""
    sizes = Counter(str(row["group"] or "") for row in rows)
    is_ungrouped = max(sizes.values()) == 1
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault("" if is_ungrouped else str(row["group"] or ""), []).append(row)
    names = sorted(groups, key=lambda n: float(np.mean([r[OBJECT_SCORE] for r in groups[n]])))
    shown = names[:_MAX_GROUPS]
    series = ((VOXEL_SCORE, _ORANGE, 0.18), (OBJECT_SCORE, _BLUE, -0.18))
    figure, axis = new_chart("score of an image", "", height=1.4 + 0.32 * len(shown))
    for place, name in enumerate(reversed(shown)):
        own = groups[name]
        spread = np.linspace(-0.12, 0.12, len(own)) if len(own) > 1 else np.zeros(1)
        for score, colour, shift in series:
            values = [float(row[score]) for row in own]
            axis.plot(values, place + shift + spread, "o", color=colour, markersize=3, alpha=0.6)
            axis.plot([np.mean(values)], [place + shift], "|", color="black", markersize=12)
    axis.set(xlim=(-0.02, 1.02), yticks=range(len(shown)))
    axis.set_yticklabels([_short(n) or "all images" for n in reversed(shown)])
    for score, colour, _ in series:
        axis.plot([], [], "o", color=colour, label=label_of(score))
    axis.plot([], [], "|", color="black", markersize=10, label="mean")
    axis.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    if len(names) > len(shown):
        axis.set_xlabel(f"score of an image (the {len(shown)} worst of {len(names)} groups)")
    return figure


def reliability_diagram(calibration: Mapping[str, Any]) -> Figure:
    """Return a chart of the fraction of true foreground against the predicted probability."""
    figure, axis = new_chart("predicted probability", "fraction of true foreground")
    bins = calibration["bins"]
    axis.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    voxels = np.array([one["voxels"] for one in bins], float)
    axis.bar(
        [one["from"] for one in bins],
        voxels / voxels.sum(),
        [one["to"] - one["from"] for one in bins],
        align="edge",
        color=_GREY,
        alpha=0.3,
        label="fraction of voxels",
    )
    axis.plot(
        [one["probability"] for one in bins],
        [one["true"] for one in bins],
        "o-",
        color=_BLUE,
        label=f"ECE {calibration['ece']:.3f}",
    )
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.legend(frameon=False)
    return figure


def dice_against_threshold(calibration: Mapping[str, Any]) -> Figure:
    """Return a chart of the pooled Dice of the voxels above a threshold, against the threshold."""
    figure, axis = new_chart("threshold of the probability", "pooled Dice")
    curve = calibration["dice_by_threshold"]
    axis.plot([p["threshold"] for p in curve], [p["dice"] for p in curve], "o-", color=_BLUE)
    best, dice = calibration["best_threshold"], calibration["best_dice"]
    axis.plot([best], [dice], "o", color=_ORANGE, label=f"best: {dice:.3f} at {best:g}")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.legend(frameon=False, loc="lower center")
    return figure


def new_chart(x: str, y: str, height: float = 3.4) -> tuple[Figure, Axes]:
    """Return a figure and its axis with the labels and the look of all charts."""
    from matplotlib.figure import Figure  # not pyplot, which would change the caller's backend

    figure = Figure(figsize=(5.2, height), facecolor="white", layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=x, ylabel=y)
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return figure, axis


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:21] + "..."
