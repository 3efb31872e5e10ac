"""The part of the panel Curate that takes over the decisions of other curators."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from cytoloop.viewer.panels.fields import Form
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.session.commands import combine_words
from cytoloop.viewer.session.docs import PAGES


class CuratorsBox(QWidget):
    """Combine the log of another curator with the one of the open data set.

    Parameters
    ----------
    project : Project
    folder : callable
        Returns the folder of the open data set.
    """

    combined = Signal()
    """The log has other decisions now."""

    def __init__(self, project: Project, folder: Callable[[], str]) -> None:
        super().__init__()
        self._folder = folder
        self.form = Form(PAGES["curate"])
        self.form.add_text(
            "logs",
            "Other log",
            "The decisions.csv of another curator, or the copy of the data set in which it lies. "
            "Regions and corrected labels come with it.",
            "decisions.csv, or its folder",
            "both",
        )
        self.form.add_choice(
            "prefer",
            "In a conflict",
            "Empty: this data set keeps its decision, and the conflict is listed in the queue.",
            ["", "mine", "theirs", "latest"],
        )
        self.runner = Runner(
            "combine",
            "Combine",
            "Take over what the other curator decided; conflicts are listed.",
            self._values,
            combine_words,
            project.background,
        )
        self.form.changed.connect(self.runner.show_command)
        self.runner.finished.connect(lambda status: self.combined.emit() if status == 0 else None)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 4)
        layout.setSpacing(4)
        layout.addWidget(self.form)
        layout.addWidget(self.runner)

    def _values(self) -> dict[str, str]:
        return {"data.path": self._folder(), **self.form.values()}
