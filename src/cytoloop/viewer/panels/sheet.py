"""A picture from a file, as wide as the panel; a click opens it in full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QImage, QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy

from cytoloop.viewer.panels.background import Background


class SheetLabel(QLabel):
    """Shows sample fields of a training; the file is read in a thread.

    Parameters
    ----------
    background : Background
    """

    def __init__(self, background: Background) -> None:
        super().__init__()
        self._background = background
        self._path: Path | None = None
        self._picture = QPixmap()
        self.setToolTip(
            "Sample fields of validation images: image, truth, prediction. Click to see it larger."
        )
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setVisible(False)

    def show_file(self, path: Path | None) -> None:
        """Show another file; None shows nothing."""
        if path == self._path:
            return
        self._path = path
        if path is None:
            self.setVisible(False)
            return
        self._background.run_unasked(lambda: QImage(str(path)), self._show, lambda _: None)

    def resizeEvent(self, event: Any) -> None:
        """Fit the picture to the width."""
        super().resizeEvent(event)
        self._fit()

    def mousePressEvent(self, event: Any) -> None:
        """Open the file with the program for pictures."""
        if self._path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path.absolute())))
        super().mousePressEvent(event)

    def _show(self, image: QImage) -> None:
        if image.isNull():
            return
        self._picture = QPixmap.fromImage(image)
        self.setVisible(True)
        self._fit()

    def _fit(self) -> None:
        if self._picture.isNull() or self.width() < 2:
            return
        mode = Qt.TransformationMode.SmoothTransformation
        fitted = self._picture.scaledToWidth(min(self.width(), self._picture.width()), mode)
        self.setFixedHeight(fitted.height())
        self.setPixmap(fitted)
