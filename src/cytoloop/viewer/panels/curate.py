"""The panel Curate: the queue, decisions, regions, corrections, and the data set they make."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from cytoloop.viewer.panels.correct import CorrectBox
from cytoloop.viewer.panels.curators import CuratorsBox
from cytoloop.viewer.panels.current import CurrentImage
from cytoloop.viewer.panels.data import short_path
from cytoloop.viewer.panels.fields import HelpButton, MessageLabel, push_button, row_of
from cytoloop.viewer.panels.folding import Folding
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.queue import QueueList
from cytoloop.viewer.panels.regions import RegionBox
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.session.commands import next_round_words
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.decide import choose_base, keep_or_reject
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.images import find_predictions

KEYS = {
    "K": ("keep", "keep this image"),
    "J": ("reject", "reject this image"),
    "U": ("undecided", "take the decision back"),
    "N": ("next", "next image"),
    "Shift-N": ("previous", "previous image"),
    "Control-Z": ("undo", "undo"),
    "Control-Shift-Z": ("redo", "redo"),
}
_NO_IMAGE = "No image is shown. Open a data set in the panel Data."
_REASONS = ("", "blurred", "saturated", "wrong segmentation", "debris", "duplicate")


class CuratePanel(QWidget):
    """Decide on images, exclude and merge regions, correct objects.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.current = CurrentImage(project)
        self.queue = QueueList()
        self.reason = QComboBox()
        self.reason.setEditable(True)
        self.reason.addItems(list(_REASONS))
        self.reason.lineEdit().setPlaceholderText("reason")  # type: ignore[union-attr]
        self.reason.setToolTip("The reason is kept with the decision.")
        self.curator = QLineEdit(_user())
        self.curator.setPlaceholderText("curator")
        self.curator.setToolTip("Who decides; kept with each decision.")
        self.advance = QCheckBox("then next")
        self.advance.setChecked(True)
        self.advance.setToolTip("Go to the next image after each decision.")
        self.base = QComboBox()
        self.base.addItems(["seg1", "seg2"])
        self.base.setToolTip("The segmentation outside merging regions, for this image.")
        self.base.activated.connect(lambda _: self._choose_base())
        self.note = MessageLabel()
        self.regions = RegionBox(self.current)
        self.correct = CorrectBox(self.current)
        self.predictions = ""
        self.runner = Runner(
            "curate",
            "Write data set",
            "Check all images, apply every decision, write the next round of the data set.",
            self._values,
            lambda values: next_round_words(values["output"], values["predictions"]),
            project.background,
        )
        self.runner.finished.connect(self._written)
        self.curators = CuratorsBox(project, lambda: short_path(self.current.dataset.folder))
        self.curators.combined.connect(self._combined)
        self._fill_layout()
        project.dataset_opened.connect(self._opened)
        project.predicted.connect(self.show_predictions)
        self.queue.chosen.connect(self._chosen)
        self.current.shown.connect(self._shown)
        self.current.acted.connect(self._acted)
        for key, (name, _) in KEYS.items():
            project.viewer.bind_key(key, _key_action(getattr(self, name)), overwrite=True)

    def keep(self) -> None:
        """Keep the shown image."""
        self._decide("keep")

    def reject(self) -> None:
        """Reject the shown image, with the reason."""
        self._decide("reject")

    def undecided(self) -> None:
        """Take the decision on the shown image back."""
        self._decide("undecided")

    def next(self) -> None:
        """Show the next image."""
        self.queue.step(1)

    def previous(self) -> None:
        """Show the previous image."""
        self.queue.step(-1)

    def undo(self) -> None:
        """Undo the last action."""
        self.current.undo()

    def redo(self) -> None:
        """Do the last undone action again."""
        self.current.redo()

    def show_predictions(self, table: str) -> None:
        """Show predictions with the images; `Write data set` then ranks by disagreement."""

        def show(rows: dict[str, Any]) -> None:
            self.predictions = table
            self.current.set_predictions(rows)

        self.project.background.run(lambda: find_predictions(table), show)

    def close_threads(self) -> None:
        """End the threads."""
        self.current.close()

    def _fill_layout(self) -> None:
        self.buttons = {
            name: push_button(
                name.capitalize(), f"{text.capitalize()} (key {key}).", getattr(self, name)
            )
            for key, (name, text) in KEYS.items()
        }
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        layout.addWidget(self.queue, 1)
        layout.addWidget(row_of(*(self.buttons[n] for n in ("keep", "reject", "undecided"))))
        layout.addWidget(row_of(self.reason, self.curator, self.advance))
        moves = ("previous", "next", "undo", "redo")
        layout.addWidget(row_of(*(self.buttons[name] for name in moves)))
        base_help = HelpButton(
            "With two segmentations: the one that training learns outside merging regions.",
            PAGES["regions"],
        )
        self.base_row = row_of(QLabel("Base image"), self.base, base_help)
        layout.addWidget(self.base_row)
        layout.addWidget(self.note)
        layout.addWidget(Folding("Regions: exclude, merge, finished", self.regions))
        layout.addWidget(Folding("Correct objects", self.correct))
        layout.addWidget(Folding("Decisions of other curators", self.curators))
        layout.addWidget(self.runner)

    def _values(self) -> dict[str, str]:
        folder = short_path(self.current.dataset.folder)
        return {"output": folder, "predictions": self.predictions}

    def _opened(self, dataset: Dataset) -> None:
        self.current.start()
        self.queue.show_dataset(dataset)
        self.runner.show_command()

    def _chosen(self, row_id: str) -> None:
        self.note.show_note("")
        self.current.open(row_id, self.queue.following(row_id))

    def _shown(self) -> None:
        if self.current.image is None:
            return
        row = self.current.dataset.entry(self.current.id).row
        self.base_row.setVisible(bool(row["seg2"]))
        decision = self.current.dataset.decision(self.current.id)
        self.base.setCurrentText(decision.base_image or row["base_image"] or "seg1")
        self.queue.choose(self.current.id)
        conflict = self.current.dataset.conflict(self.current.id)
        if conflict:
            self.note.show_error(f"In conflict: {conflict}")

    def _acted(self, text: str) -> None:
        self.queue.update_list()
        self.note.show_note(text)

    def _decide(self, decision: str) -> None:
        row_id = self.current.id
        if not row_id:
            self.project.report(_NO_IMAGE)
            return
        if not self.current.is_in_view():
            return
        dataset = self.current.dataset
        reason = self.reason.currentText() if decision == "reject" else ""
        curator = "" if decision == "undecided" else self.curator.text()
        self.current.do(lambda: keep_or_reject(dataset, row_id, decision, reason, curator))
        if self.advance.isChecked() and decision != "undecided":
            self.next()

    def _choose_base(self) -> None:
        if not self.current.id:
            self.project.report(_NO_IMAGE)
            return
        row_id, dataset = self.current.id, self.current.dataset
        base, curator = self.base.currentText(), self.curator.text()
        self.current.do(lambda: choose_base(dataset, row_id, base, curator))

    def _combined(self) -> None:
        """Read the decisions again, and show the conflicts."""

        def show() -> None:
            if self.current.dataset.filtered("conflict"):
                self.queue.filter.setCurrentText("conflict")
                self.queue.step(0)

        self.project.open_dataset(str(self.current.dataset.folder), show)

    def _written(self, status: int) -> None:
        if status == 0:
            self.project.open_dataset(str(self.current.dataset.folder))


def _key_action(slot: Callable[[], None]) -> Callable[[Any], None]:
    def act(_: Any) -> None:
        slot()

    return act


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no login name, as in some containers
        return ""
