"""The OpenGL context of napari's canvas is the current one when a layer is removed.

napari deletes the textures and shaders of a removed layer at once. It then uses the context that
happens to be current, which may be the one of the window. A driver that meets shaders of another
context there may crash at the next picture: Mesa's software OpenGL does.
"""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QOpenGLWidget, QWidget


class CanvasContext:
    """Makes the canvas of a window current before a layer is removed, by whomever.

    Parameters
    ----------
    viewer : napari.Viewer
    panel : QWidget
        A widget in the same window.
    """

    def __init__(self, viewer: Any, panel: QWidget) -> None:
        self._panel = panel
        viewer.layers.events.removing.connect(self.make_current)

    def make_current(self, event: Any = None) -> None:
        """Make the OpenGL context of the canvas current, once it has drawn something."""
        window = self._panel
        while (parent := window.parentWidget()) is not None:  # also of a dock that floats
            window = parent
        for canvas in window.findChildren(QOpenGLWidget):
            if canvas.isValid():
                canvas.makeCurrent()
