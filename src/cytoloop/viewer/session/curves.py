"""A picture of the curves of a training: loss and Dice over the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cytoloop.viewer.session.trainings import Curves

_COLOURS = {"training": "#3fa7ff", "validation": "#ff9628"}
_DPI = 100


@dataclass(frozen=True)
class Paper:
    """How large a picture is, and its colours.

    Parameters
    ----------
    width, height : int
        In pixels of the window.
    ratio : float
        Pixels of the screen in one pixel of the window.
    ink, ground : str
        Colours of text and background, as ``#rrggbb``.
    """

    width: int
    height: int
    ratio: float
    ink: str
    ground: str


def count_points(curves: Curves) -> int:
    """Return the number of points of all curves."""
    both = (curves.training, curves.validation)
    return sum(len(line) for lines in both for line in lines.values())


def draw_curves(curves: Curves, paper: Paper) -> np.ndarray:
    """Return the picture (Y, X, 4), uint8; two axes beside each other."""
    size = (paper.width / _DPI, paper.height / _DPI)
    figure = Figure(figsize=size, dpi=_DPI * paper.ratio, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.set_facecolor(paper.ground)
    for number, name in enumerate(("loss", "dice"), start=1):
        axes = figure.add_subplot(1, 2, number)
        for kind, lines in (("training", curves.training), ("validation", curves.validation)):
            line = lines.get(name, [])
            if line:
                steps, values = zip(*line, strict=True)
                mark = "." if len(line) < 30 else ""
                axes.plot(steps, values, mark + "-", color=_COLOURS[kind], label=kind)
        _style(axes, name.capitalize() if name == "dice" else name, paper)
        if number == 1 and axes.lines:
            axes.legend(fontsize=7, frameon=False, labelcolor=paper.ink)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _style(axes: Any, title: str, paper: Paper) -> None:
    axes.set_title(title, fontsize=8, color=paper.ink)
    axes.set_xlabel("step", fontsize=7, color=paper.ink)
    axes.set_facecolor(paper.ground)
    axes.tick_params(labelsize=7, colors=paper.ink)
    for spine in axes.spines.values():
        spine.set_color(paper.ink)
