"""The panel Train: data set, recipe, minutes; live curves; the model at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QProgressBar, QVBoxLayout, QWidget

from cytoloop.viewer.panels.curves import CurvesPlot
from cytoloop.viewer.panels.data import short_path
from cytoloop.viewer.panels.fields import Form, MessageLabel, push_button, row_of
from cytoloop.viewer.panels.finish import FinishBox
from cytoloop.viewer.panels.folding import Folding
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.panels.sheet import SheetLabel
from cytoloop.viewer.session.commands import plan_words, recipes, train_words
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.limits import ADVANCED
from cytoloop.viewer.session.trainings import (
    TrainingView,
    cancel,
    find_trainings,
    finished_models,
    view_training,
    who_trains,
)

FINAL_SCORES = ("test/dice", "test/f1_50", "test/seg", "test/mean_ap", "val/pq", "val/dice")
"""Scores of a finished training that the panel shows; MLflow has all of them."""
_EVERY_MS = 1000


class TrainPanel(QWidget):
    """Start, watch and stop a training; it goes on when napari is closed.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.view: TrainingView | None = None
        self.form, self.advanced = _form(), _advanced()
        for form in (self.form, self.advanced):
            form.changed.connect(self._changed)
        self.problems = MessageLabel()
        self.plan = Runner(
            "check",
            "Show the plan",
            "Check the data set and show what the training would do, in a table.",
            self._values,
            plan_words,
            project.background,
        )
        self.runner = Runner(
            "train",
            "Start training",
            "Start it in the background: it goes on when napari is closed.",
            self._values,
            train_words,
            project.background,
        )
        self.runner.finished.connect(self._launched)
        self.trainings = QComboBox()
        self.trainings.setToolTip("Trainings of this folder and of this machine, newest first.")
        self.trainings.activated.connect(lambda _: self._look())
        self.state = MessageLabel()
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.curves = CurvesPlot(project.background)
        self.cancel_button = push_button(
            "Stop and keep the model",
            "Stop after the present step; what was learned stays.",
            self._cancel,
        )
        self.holder = MessageLabel()
        self.sheet = SheetLabel(project.background)
        self.finish = FinishBox(project)
        self.finish.used.connect(project.model_chosen)
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        for widget in (
            self.form,
            Folding("Advanced", self.advanced),
            self.problems,
            self.plan,
            self.runner,
            self.holder,
            row_of(self.trainings),
            self.state,
            self.bar,
            self.cancel_button,
            self.finish,
            self.curves,
            self.sheet,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        project.dataset_opened.connect(self._opened)
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self._poll)
        self._timer.start()
        self._show(None)
        self.refresh()

    def refresh(self) -> None:
        """Look for trainings: also those that an earlier napari started."""
        self.project.background.run_unasked(
            lambda: (find_trainings(), finished_models(), who_trains()), self._show_trainings
        )

    def _values(self) -> dict[str, str]:
        return self.form.values() | self.advanced.values()

    def _changed(self) -> None:
        values = self._values()
        problems = [p for k, lim in ADVANCED.items() if values[k] for p in lim.problems(values[k])]
        self.problems.show_error("\n".join(problems))
        self.plan.show_command()
        self.runner.show_command()

    def _opened(self, dataset: Dataset) -> None:
        self.form.set_value("data.path", short_path(dataset.folder))
        if not self.form.value("output"):
            self.form.set_value("output", f"model{dataset.round}")

    def _launched(self, status: int) -> None:
        if status == 0:
            self.refresh()

    def _show_trainings(self, found: tuple[list[Path], list[Path], str]) -> None:
        folders, models, text = found
        shown = self.trainings.currentData()
        self.trainings.clear()
        for folder in folders:
            self.trainings.addItem(folder.name, str(folder))
        if shown and not self.runner.process:
            self.trainings.setCurrentIndex(max(self.trainings.findData(shown), 0))
        start: Any = self.form.fields["init_from"]
        chosen = start.currentText()
        start.clear()
        start.addItems(["", *map(str, models)])
        start.setCurrentText(chosen)
        self.holder.show_note(text)
        self._look()

    def _poll(self) -> None:
        is_running = self.view is not None and self.view.state == "running"
        if (self.isVisible() or is_running) and not self.project.background.is_busy:
            self._look()

    def _look(self) -> None:
        folder = self.trainings.currentData()
        if folder:
            self.project.background.run_unasked(lambda: view_training(Path(folder)), self._show)

    def _show(self, view: TrainingView | None) -> None:
        before, self.view = self.view, view
        has_one = view is not None
        self.bar.setVisible(has_one)
        self.curves.setVisible(has_one)
        self.trainings.setVisible(has_one)
        self.cancel_button.setVisible(view is not None and view.state == "running")
        self.finish.setVisible(view is not None and view.state in ("finished", "stopped"))
        if view is None:
            return
        shown = {name: view.scores[name] for name in FINAL_SCORES if name in view.scores}
        scores = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        what = "test images" if any(name.startswith("test/") for name in shown) else "validation"
        self.state.show_note(view.text + (f"\nScores on {what}: {scores}" if scores else ""))
        self.finish.show_model(view.folder)
        self.sheet.show_file(view.sheet)
        self.bar.setValue(round(1000 * view.fraction))
        self.curves.show_curves(view.curves)
        if before is not None and before.state == "running" and view.state != "running":
            self.refresh()

    def _cancel(self) -> None:
        if self.view is None:
            return
        folder = self.view.folder
        self.state.show_note("stopping after the present step")
        self.project.background.run(lambda: cancel(folder), lambda _: self._look())

    def close_threads(self) -> None:
        """End the server of MLflow; trainings go on."""
        self.finish.close_server()


def _form() -> Form:
    form = Form(PAGES["train"])
    form.add_text(
        "data.path", "Data set", "Folder of the data set to learn from.", "dataset", "folder"
    )
    form.add_choice(
        "experiment",
        "Recipe",
        "auto chooses every setting from the images; the others suit the structure that they are "
        "named after; segmentation_module has the defaults of that wizard.",
        recipes(),
    )
    form.add_choice(
        "init_from",
        "Start from",
        "Optional: a model to start from: a folder of a training, a file, runs:/ID or "
        "models:/NAME@ALIAS.",
        [""],
        editable=True,
        browse="folder",
    )
    form.add_text(
        "budget_minutes", "Minutes", "How long to train; 15 suffice for small stacks.", "15"
    )
    form.add_choice(
        "model/size",
        "Size",
        "Size of the network; empty is the recipe's choice. A large one is slower.",
        ["", "small", "medium", "large"],
    )
    form.add_text(
        "output", "Model folder", "Folder of the model that is trained.", "model0", "folder"
    )
    form.set_value("budget_minutes", "15")
    return form


def _advanced() -> Form:
    form = Form(PAGES["train"])
    for key, limits in ADVANCED.items():
        what = f"{limits.help[0].upper()}{limits.help[1:]}, {limits.low:g} to {limits.high:g}."
        form.add_text(key, limits.label, f"{what} Empty: the plan chooses.", "chosen by the plan")
    form.add_choice(
        "augmentation",
        "Augmentation",
        "Random changes of the training patches; none turns them off.",
        ["", "default", "light", "strong", "microscope", "none"],
    )
    return form
