"""The guide for a first analysis: one step after the other, and what is missing for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from cytoloop.viewer.panels.fields import push_button, row_of

_EVERY_MS = 500


@dataclass(frozen=True)
class Step:
    """A step of the guide.

    Attributes
    ----------
    title, text : str
        Name, and what to do.
    tab : int
        Of the panel in which it is done.
    missing : callable
        Returns what is missing before the next step, "" if nothing is.
    """

    title: str
    text: str
    tab: int
    missing: Callable[[], str]


class Guide(QWidget):
    """Steps of a first analysis above the panels; the panels stay usable in any order.

    Parameters
    ----------
    panels : CytoLoopPanels
    """

    def __init__(self, panels: Any) -> None:
        super().__init__()
        self.panels = panels
        self.number = 0
        self.steps = (
            Step("Data", "Choose images and segmentations, then make the data set.", 0, self._data),
            Step("Settings", "Choose recipe and minutes.", 2, self._settings),
            Step("Train", "Start the training and wait for its end.", 2, self._train),
            Step("Predict", "Choose images and predict them.", 3, self._predict),
        )
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.back_button = push_button("Back", "Show the step before.", lambda: self.go(-1))
        self.next_button = push_button("Next", "Show the next step.", lambda: self.go(1))
        self.model_button = push_button(
            "I have a model", "Go straight to the prediction.", lambda: self.show_step(3)
        )
        self.reset_button = push_button(
            "Start a new analysis", "Begin again with other images.", self.reset
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 0, 4, 4)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        buttons = (self.back_button, self.next_button, self.model_button, self.reset_button)
        layout.addWidget(row_of(*buttons))
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.update_step)
        self.setVisible(False)

    def start(self) -> None:
        """Show the guide at its first step."""
        self.setVisible(True)
        self._timer.start()
        self.show_step(0)

    def stop(self) -> None:
        """Hide the guide."""
        self._timer.stop()
        self.setVisible(False)

    def go(self, by: int) -> None:
        """Show the next or the previous step."""
        self.show_step(min(max(self.number + by, 0), len(self.steps) - 1))

    def show_step(self, number: int) -> None:
        """Show a step and its panel."""
        self.number = number
        predict, view = self.panels.predict, self.panels.train.view
        if number == 3 and view is not None and not predict.form.value("checkpoint"):
            predict.use_model(str(view.folder))
        self.panels.tabs.setCurrentIndex(self.steps[number].tab)
        self.update_step()

    def reset(self) -> None:
        """Empty the fields and begin again; nothing on disk changes."""
        for form in (self.panels.data.form, self.panels.predict.form):
            for key in ("raw", "seg1", "seg2", "output", "checkpoint", "input"):
                if key in form.fields:
                    form.set_value(key, "")
        self.panels.train.form.set_value("output", "")
        self.panels.project.dataset = None
        self.show_step(0)

    def update_step(self) -> None:
        """Say what the step is and what is missing."""
        step = self.steps[self.number]
        missing = step.missing()
        steps = " \u2192 ".join(
            f"<b>{n} {one.title}</b>" if one is step else f"{n} {one.title}"
            for n, one in enumerate(self.steps, start=1)
        )
        todo = f"<br>Missing: {missing}" if missing else f"<br>{self._summary()}"
        self.title.setText(f"{steps}<br>{step.text}{todo}")
        is_last = self.number == len(self.steps) - 1
        following = "" if is_last else self.steps[self.number + 1].title.lower()
        self.next_button.setText(f"Next: {following}" if following else "Next")
        self.next_button.setEnabled(not missing and not is_last)
        self.back_button.setEnabled(self.number > 0)
        self.model_button.setVisible(self.number == 0)
        self.reset_button.setVisible(self.number > 0)

    def _data(self) -> str:
        if self.panels.project.dataset is not None:
            return ""
        values: Mapping[str, str] = self.panels.data.form.values()
        labels = {"raw": "images", "seg1": "segmentations", "output": "a folder for the data set"}
        empty = [label for key, label in labels.items() if not values[key]]
        return ", ".join(empty) if empty else "press Make data set"

    def _settings(self) -> str:
        values: Mapping[str, str] = self.panels.train.form.values()
        labels = {"data.path": "a data set", "output": "a folder for the model"}
        empty = [label for key, label in labels.items() if not values[key]]
        return ", ".join(empty) or str(self.panels.train.problems.text())

    def _train(self) -> str:
        view = self.panels.train.view
        if view is None or view.state == "ended":
            return "press Start training"
        if view.state == "running":
            return f"the training of {view.folder.name} is under way"
        return ""

    def _predict(self) -> str:
        values: Mapping[str, str] = self.panels.predict.form.values()
        labels = {"checkpoint": "a model", "input": "images", "output": "a folder for the results"}
        return ", ".join(label for key, label in labels.items() if not values[key])

    def _summary(self) -> str:
        """Return what will happen, in words."""
        if self.number == 0:
            dataset = self.panels.project.dataset
            count = len(dataset.entries) if dataset is not None else 0
            return f"{count} images are ready."
        if self.number == 1:
            values = self.panels.train.form.values()
            size = f" with a {values['model/size']} network" if values["model/size"] else ""
            minutes = values["budget_minutes"]
            long = f" for {minutes} minutes" if minutes else ""
            return (
                f"Train the recipe {values['experiment']}{size} on {values['data.path']}{long}; "
                f"the model goes to {values['output']}."
            )
        if self.number == 2:
            view = self.panels.train.view
            return f"{view.text}." if view is not None else ""
        values = self.panels.predict.form.values()
        return f"Predict {values['input']} with {values['checkpoint']} into {values['output']}."
