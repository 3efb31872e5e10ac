"""Curves of a training: loss and Dice of training and validation patches."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy

from cytoloop.viewer.panels.background import Background
from cytoloop.viewer.session.curves import Paper, count_points, draw_curves
from cytoloop.viewer.session.trainings import Curves

_HEIGHT = 170


class CurvesPlot(QLabel):
    """Two axes: loss and Dice over the steps. They are drawn in a thread.

    Parameters
    ----------
    background : Background
    """

    def __init__(self, background: Background) -> None:
        super().__init__()
        self._background = background
        self._curves = Curves()
        self._drawn: tuple[int, Paper] | None = None
        self._picture = QPixmap()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(_HEIGHT)

    def show_curves(self, curves: Curves) -> None:
        """Draw the curves, if there are new points or the panel has another size."""
        self._curves = curves
        points, paper = count_points(curves), self._paper()
        if not points or paper.width < 2 or self._drawn == (points, paper):
            return
        self._drawn = (points, paper)
        self._background.run_unasked(lambda: draw_curves(curves, paper), self._show)

    def resizeEvent(self, event: Any) -> None:
        """Draw the curves as wide as the panel."""
        super().resizeEvent(event)
        self._fit()
        self.show_curves(self._curves)

    def _paper(self) -> Paper:
        palette = self.palette()
        return Paper(
            self.width(),
            self.height(),
            self.devicePixelRatioF(),
            palette.windowText().color().name(),
            palette.window().color().name(),
        )

    def _show(self, pixels: np.ndarray) -> None:
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._picture = QPixmap.fromImage(image)
        self._fit()

    def _fit(self) -> None:
        """Show the picture as wide as the panel is now; a sharp one follows."""
        if self._picture.isNull() or self.width() < 2:
            return
        ratio = self.devicePixelRatioF()
        width = round(self.width() * ratio)
        picture = self._picture
        if picture.width() != width:
            picture = picture.scaledToWidth(width, Qt.TransformationMode.SmoothTransformation)
        picture.setDevicePixelRatio(ratio)
        self.setPixmap(picture)
