"""Curves of a training: loss and Dice of training and validation patches."""

from __future__ import annotations

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtWidgets import QVBoxLayout, QWidget

from cytoloop.viewer.session.trainings import Curves

_COLOURS = {"training": "#3fa7ff", "validation": "#ff9628"}


class CurvesPlot(QWidget):
    """Two axes: loss and Dice over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.figure = Figure(figsize=(3.6, 1.7), layout="constrained")
        self.canvas = FigureCanvasQTAgg(self.figure)
        self.canvas.setMinimumHeight(150)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.canvas)
        self.points = 0

    def show_curves(self, curves: Curves) -> None:
        """Draw the curves, if there are new points."""
        both = {"training": curves.training, "validation": curves.validation}
        points = sum(len(line) for lines in both.values() for line in lines.values())
        if points == self.points:
            return
        self.points = points
        ink = self.palette().windowText().color().name()
        paper = self.palette().window().color().name()
        self.figure.clear()
        self.figure.set_facecolor(paper)
        for number, name in enumerate(("loss", "dice"), start=1):
            axes = self.figure.add_subplot(1, 2, number)
            for kind, lines in both.items():
                line = lines.get(name, [])
                if line:
                    steps, values = zip(*line, strict=True)
                    mark = "." if len(line) < 30 else ""
                    axes.plot(steps, values, mark + "-", color=_COLOURS[kind], label=kind)
            _style(axes, name.capitalize() if name == "dice" else name, ink, paper)
            if number == 1 and points:
                axes.legend(fontsize=7, frameon=False, labelcolor=ink)
        self.canvas.draw_idle()


def _style(axes: object, title: str, ink: str, paper: str) -> None:
    axes.set_title(title, fontsize=8, color=ink)  # type: ignore[attr-defined]
    axes.set_xlabel("step", fontsize=7, color=ink)  # type: ignore[attr-defined]
    axes.set_facecolor(paper)  # type: ignore[attr-defined]
    axes.tick_params(labelsize=7, colors=ink)  # type: ignore[attr-defined]
    for spine in axes.spines.values():  # type: ignore[attr-defined]
        spine.set_color(ink)
