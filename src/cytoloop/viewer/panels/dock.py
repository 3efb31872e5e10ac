"""The dock widget: the panels as tabs, and one line for errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from cytoloop.viewer.panels.canvas import CanvasContext
from cytoloop.viewer.panels.compare import ComparePanel
from cytoloop.viewer.panels.curate import CuratePanel
from cytoloop.viewer.panels.data import DataPanel, short_path
from cytoloop.viewer.panels.fields import MessageLabel
from cytoloop.viewer.panels.guide import Guide
from cytoloop.viewer.panels.layers import has_drawing
from cytoloop.viewer.panels.predict import PredictPanel
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.train import TrainPanel

if TYPE_CHECKING:
    from napari import Viewer


class CytoLoopPanels(QWidget):
    """All panels; napari makes it when the plugin is opened.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.error = MessageLabel()
        self.project = Project(napari_viewer, self.error.show_error)
        self.canvas = CanvasContext(napari_viewer, self)
        self.data = DataPanel(self.project)
        self.curate = CuratePanel(self.project)
        self.tabs = QTabWidget()
        self.train = TrainPanel(self.project)
        self.predict = PredictPanel(self.project)
        self.compare = ComparePanel(self.project)
        panels = {
            "Data": self.data,
            "Curate": self.curate,
            "Train": self.train,
            "Predict": self.predict,
            "Compare": self.compare,
        }
        for title, panel in panels.items():
            self.tabs.addTab(_scrolled(panel), title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        self.guide = Guide(self)
        self.guide_button = QPushButton("Guide me through a first analysis")
        self.guide_button.setCheckable(True)
        self.guide_button.setToolTip("Shows one step after the other, and what is missing.")
        self.guide_button.toggled.connect(
            lambda is_on: self.guide.start() if is_on else self.guide.stop()
        )
        layout.setSpacing(4)
        for widget in (self.guide_button, self.guide, self.error, self.tabs):
            layout.addWidget(widget)
        self.setMinimumWidth(380)
        self.names = tuple(title.lower() for title in panels)
        self.project.front = self.names[0]
        self.tabs.currentChanged.connect(self._show_layers)
        self.project.dataset_opened.connect(self._show_curate)
        for thread in (self.project.background, self.project.actions):
            thread.started.connect(lambda: self.error.show_note(""))
        self.project.panel_wanted.connect(
            lambda name: self.tabs.setCurrentIndex(self.names.index(name))
        )
        self.project.model_chosen.connect(lambda _: self.tabs.setCurrentIndex(3))

    def open(self, data_path: str = "", images: str = "", predictions: str = "") -> None:
        """Open what `cytoloop view` names: a data set, images, or predictions."""
        if images:
            self.data.choose_images(images)
        if data_path:
            self.project.open_dataset(data_path)
        if predictions:
            self.predict.show_table(predictions)
            self.project.predicted.emit(predictions)
            if not data_path:
                self.tabs.setCurrentIndex(3)

    def close_threads(self) -> None:
        """End the threads; processes go on."""
        self.project.close()
        self.curate.close_threads()
        self.train.close_threads()

    def closeEvent(self, event: Any) -> None:
        """End the threads when the dock is closed."""
        self.close_threads()
        super().closeEvent(event)

    def _show_layers(self, number: int) -> None:
        """Show what a panel is about, unless a drawn region would be lost."""
        self.project.front = self.names[number]
        show = {
            1: self.curate.current.show_again,
            3: self.predict.show_again,
            4: self.compare.show_again,
        }.get(number)
        if show is not None and not has_drawing(self.project.viewer):
            show()

    def _show_curate(self, dataset: Any) -> None:
        self.error.show_note("")
        self.data.form.set_value("output", short_path(dataset.folder))
        if not self.guide.isVisible():
            self.tabs.setCurrentIndex(1)


def _scrolled(panel: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(panel)
    return area
