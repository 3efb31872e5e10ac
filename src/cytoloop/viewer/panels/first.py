"""The part of the panel Data for images without labels: a first segmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from cytoloop.viewer.panels.fields import Form
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.first import first_methods, first_verb, first_words
from cytoloop.viewer.session.layer_files import predicted_count


class FirstBox(QWidget):
    """Segment the chosen images without a label; the result becomes their segmentation.

    Parameters
    ----------
    project : Project
    images : callable
        Returns the fields of the panel: ``raw``, ``channel``, ``spacing_um``.
    """

    made = Signal(str)
    """Labels were written; carries their folder."""

    def __init__(self, project: Project, images: Callable[[], Mapping[str, str]]) -> None:
        super().__init__()
        self._images = images
        self.form = Form(PAGES["first"])
        self.form.add_choice(
            "method",
            "Segment by",
            "A shipped model finds nuclei. A workflow of filters and watersheds suits the "
            "structure that it is named after.",
            first_methods(),
        )
        self.form.add_text(
            "diameter",
            "Object size",
            "For a model: width of an object in um, or auto to measure it; empty predicts at the "
            "scale of the image.",
            "auto, or um",
        )
        self.form.set_value("diameter", "auto")
        self.form.add_text(
            "first", "First labels", "Folder for the first segmentation.", "first", "folder"
        )
        self.form.set_value("first", "first")
        self.runner = Runner(
            "predict",
            "Segment",
            "Segment all images. The objects become the segmentations of the data set.",
            self._values,
            first_words,
            project.background,
        )
        self.form.changed.connect(self.show_command)
        self.runner.finished.connect(self._ended)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 4)
        layout.setSpacing(4)
        layout.addWidget(self.form)
        layout.addWidget(self.runner)

    def show_command(self) -> None:
        """Show the command line for the present fields."""
        self.runner.show_command()

    def _values(self) -> dict[str, str]:
        images = self._images()
        values = self.form.values()
        values |= {key: images.get(key, "") for key in ("raw", "channel", "spacing_um")}
        folder = Path(values["first"])
        self.runner.verb = first_verb(values["method"])
        self.runner.progress = lambda: predicted_count(folder)
        return values

    def _ended(self, status: int) -> None:
        if status == 0:
            self.made.emit(str(Path(self.form.value("first")) / "labels"))
