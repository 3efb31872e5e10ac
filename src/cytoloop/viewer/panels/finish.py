"""The end of a training in the panel Train: use the model, promote it, open its run in MLflow."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from cytoloop.viewer.panels.data import short_path
from cytoloop.viewer.panels.fields import Form, MessageLabel, push_button, row_of
from cytoloop.viewer.panels.folding import Folding
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.process import VerbProcess
from cytoloop.viewer.session.promotion import (
    VERDICTS,
    promote_words,
    register_words,
    serve_mlflow,
)


class FinishBox(QWidget):
    """What to do with a trained model.

    Parameters
    ----------
    project : Project
    """

    used = Signal(str)
    """The model shall be used to predict; carries its folder."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        self._folder = Path()
        self._registered: set[tuple[str, str]] = set()
        self._server: VerbProcess | None = None
        self._address, self._is_closed = "", False
        self.form = Form(PAGES["models"])
        self.form.add_text(
            "name",
            "Model name",
            "Name of the model in the registry. Its champion is the version that is best so far.",
            "nuclei",
        )
        self.form.set_value("name", "model")
        self.use_button = push_button(
            "Use it to predict", "Take this model to the panel Predict.", self._use
        )
        self.mlflow_button = push_button(
            "Open in MLflow", "Show the runs of this project in a browser.", self._open_mlflow
        )
        background = project.background
        self.register = Runner(
            "models",
            "Register",
            "Add it to the registry as a new version of this model.",
            self._values,
            register_words,
            background,
        )
        self.promote = Runner(
            "models",
            "Promote: better than the champion?",
            "Score both on the test images. The better one becomes the champion; the difference is "
            "shown with its interval.",
            self._values,
            promote_words,
            background,
        )
        self.register.lines, self.promote.lines = 2, 3
        self.promote.answers = VERDICTS
        self.register.finished.connect(self._has_registered)
        self.form.changed.connect(self._show_commands)
        self.note = MessageLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        registry = QWidget()
        inner = QVBoxLayout(registry)
        inner.setContentsMargins(8, 0, 0, 4)
        for part in (self.form, self.register, self.promote):
            inner.addWidget(part)
        buttons = row_of(self.use_button, self.mlflow_button)
        for widget in (buttons, self.note, Folding("Register and promote", registry)):
            layout.addWidget(widget)

    def show_model(self, folder: Path) -> None:
        """Show the tools for another model."""
        if folder == self._folder:
            return
        self._folder = folder
        self._update_promote()
        self._show_commands()

    def close_server(self) -> None:
        """End the server of MLflow, if it was started here."""
        self._is_closed = True
        if self._server is not None:
            self._server.stop()

    def _started(self, server: VerbProcess) -> None:
        """Keep the server, in the thread that starts it; end it if the window was closed."""
        self._server = server
        if self._is_closed:
            server.stop()

    def _values(self) -> dict[str, str]:
        return {"model": short_path(self._folder), **self.form.values()}

    def _show_commands(self) -> None:
        self._update_promote()
        self.register.show_command()
        self.promote.show_command()

    def _update_promote(self) -> None:
        """Offer the promotion once the model is registered."""
        key = (str(self._folder), self.form.value("name"))
        self.promote.setVisible(key in self._registered)

    def _has_registered(self, status: int) -> None:
        if status == 0:
            self._registered.add((str(self._folder), self.form.value("name")))
            self._update_promote()

    def _use(self) -> None:
        self.used.emit(str(self._folder))

    def _open_mlflow(self) -> None:
        if self._address and self._server is not None and self._server.status is None:
            QDesktopServices.openUrl(QUrl(self._address))
            return
        self.note.show_note("starting MLflow")

        def show(address: str) -> None:
            self._address = address
            self.note.show_note(f"MLflow: {self._address}")
            QDesktopServices.openUrl(QUrl(self._address))

        self._project.services.run(lambda: serve_mlflow(self._started), show, self.note.show_error)
