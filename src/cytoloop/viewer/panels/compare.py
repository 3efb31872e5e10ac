"""The panel Compare: scores of predictions, worst image first, errors in the report's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from cytoloop.evaluation.figures.artists import ERROR_COLOURS
from cytoloop.viewer.panels import layers
from cytoloop.viewer.panels.data import short_path
from cytoloop.viewer.panels.fields import Form, MessageLabel, push_button, row_of
from cytoloop.viewer.panels.folding import Folding
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.panels.views import show_compared
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.scores import (
    SIDES,
    Compared,
    Scores,
    compare_words,
    evaluate_words,
    load_compared,
    read_other,
    read_scores,
    read_verdict,
)

VERDICTS = (0, 3, 4)
"""Exit statuses of `cytoloop compare` that are a verdict."""
_OBJECTS = {"kind": "", "side": "", "object": "", "iou": ".2f", "z": ".0f", "y": ".0f", "x": ".0f"}
"""Columns of the table of objects, with the format of numbers."""


class ComparePanel(QWidget):
    """Evaluate predictions, and look at images and objects from the worst.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.scores: Scores | None = None
        self.others: Scores | None = None
        self.shown: Compared | None = None
        self.form = _form()
        self.runner = Runner(
            "evaluate",
            "Score",
            "Compare predictions with the truth, image by image and object by object.",
            self.form.values,
            evaluate_words,
            project.background,
        )
        self.runner.lines = 2
        self.form.changed.connect(self.runner.show_command)
        self.runner.finished.connect(lambda status: self.read() if status == 0 else None)
        self.other = _other_form()
        self.against = Runner(
            "compare",
            "Better than the others?",
            "Test whether these scores are better, image by image, with an interval.",
            lambda: self.form.values() | self.other.values(),
            compare_words,
            project.background,
        )
        self.against.answers = VERDICTS
        self.against.lines = 0
        self.other.changed.connect(self.against.show_command)
        self.against.finished.connect(self._compared)
        self.verdict = MessageLabel()
        self.images, self.objects = _table(), _table()
        self.images.setToolTip("Worst image first; click to see it.")
        self.objects.setToolTip("Errors first; click to go there. Or click on an object.")
        self.images.itemSelectionChanged.connect(self._image_chosen)
        self.objects.itemSelectionChanged.connect(self._object_chosen)
        self.legend = MessageLabel()
        self.legend.setText(
            " ".join(
                f'<span style="background:{c};color:black">&nbsp;{n}&nbsp;</span>'
                for n, c in ERROR_COLOURS.items()
            )
        )
        again = push_button("Next worst", "Show the image with the next worse score.", self.next)
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        for widget in (
            self.form,
            self.runner,
            self.images,
            row_of(again),
            self.legend,
            self.objects,
            Folding("A against B", self._versus()),
        ):
            layout.addWidget(widget)
        layout.setStretchFactor(self.images, 1)
        layout.setStretchFactor(self.objects, 2)
        layout.addStretch(0)
        project.predicted.connect(lambda table: self.form.set_value("predictions", table))
        project.dataset_opened.connect(self._opened)
        project.viewer.mouse_drag_callbacks.append(self._on_click)
        self._show_tables(False)

    def _versus(self) -> QWidget:
        """Return the part that compares these scores with others."""
        part = QWidget()
        layout = QVBoxLayout(part)
        layout.setContentsMargins(8, 0, 0, 4)
        self.show_other = push_button(
            "Show its objects",
            "Show the objects of the other model as thin outlines, in the colours of its errors.",
            self._read_other,
        )
        for widget in (self.other, row_of(self.show_other), self.against, self.verdict):
            layout.addWidget(widget)
        return part

    def _compared(self, status: int) -> None:
        """Show the verdict."""
        folder = self.form.value("output")
        if status in VERDICTS:
            self.project.background.run(lambda: read_verdict(folder), self.verdict.show_note)

    def read(self) -> None:
        """Read the scores that were written."""
        values = self.form.values()

        def show(scores: Scores) -> None:
            self.scores, self.others = scores, None
            self._show_tables(True)
            self._fill_images(0)

        self.project.background.run(
            lambda: read_scores(values["output"], values["predictions"], values["truth"]), show
        )

    def _read_other(self) -> None:
        """Show the scores and objects of the other model beside these."""
        folder, truth = self.other.value("a"), self.form.value("truth")
        if self.scores is None or not folder:
            missing = "press Score first" if self.scores is None else "Other scores is empty"
            self.verdict.show_error(missing)
            return

        def show(others: Scores) -> None:
            self.others = others
            self.verdict.show_note("Layer: other prediction")
            self._fill_images(max(self.images.currentRow(), 0))

        self.project.background.run(
            lambda: read_other(folder, truth), show, self.verdict.show_error
        )

    def _fill_images(self, chosen: int) -> None:
        """Fill the table of images and choose a row."""
        scores, others = self.scores, self.others
        if scores is None:
            return
        columns = ["image", *scores.names]
        rows = [
            [row["id"], *(_number(row[n], ".3f") for n in scores.names)] for row in scores.images
        ]
        if others is not None and scores.names:
            name = scores.names[0]
            theirs = {row["id"]: row.get(name, "") for row in others.images}
            columns.append(f"other {name}")
            rows = [[*row, _number(theirs.get(row[0], ""), ".3f")] for row in rows]
        _fill(self.images, columns, rows)
        self.images.selectRow(chosen)

    def next(self) -> None:
        """Show the image with the next worse score."""
        self.images.selectRow(min(self.images.currentRow() + 1, self.images.rowCount() - 1))

    def _opened(self, dataset: Dataset) -> None:
        self.form.set_value("truth", short_path(dataset.folder / "dataset.csv"))
        if not self.form.value("output"):
            self.form.set_value("output", "scores")

    def _show_tables(self, is_shown: bool) -> None:
        for widget in (self.images, self.objects, self.legend):
            widget.setVisible(is_shown)

    def _image_chosen(self) -> None:
        scores, row = self.scores, self.images.currentRow()
        if scores is None or not 0 <= row < len(scores.images):
            return
        row_id = scores.images[row]["id"]
        others = self.others
        self.project.background.run(lambda: load_compared(scores, row_id, others), self._show)

    def show_again(self) -> None:
        """Show the layers of this panel, if another panel has replaced them."""
        if self.shown is not None and self.project.stage != "compare":
            self._show_layers(self.shown)

    def _show_layers(self, compared: Compared) -> None:
        self.project.show("compare", show_compared(self.project.viewer, compared))

    def _show(self, compared: Compared) -> None:
        self.shown = compared
        if self.project.may_show("compare"):
            self._show_layers(compared)
        found = self.scores.objects.get(compared.id, []) if self.scores is not None else []
        rows = [[_number(row.get(n, ""), form) for n, form in _OBJECTS.items()] for row in found]
        _fill(self.objects, list(_OBJECTS), rows)
        for number, row in enumerate(found):
            item = self.objects.item(number, 0)
            if item is not None:
                colour = QColor(ERROR_COLOURS[row["kind"]])
                item.setData(Qt.ItemDataRole.DecorationRole, colour)  # a square before the text
        self.objects.resizeColumnToContents(0)

    def _object_chosen(self) -> None:
        row = self._object_row(self.objects.currentRow())
        if row is None or self.shown is None:
            return
        centre = [float(row[axis]) for axis in "zyx" if row.get(axis)]
        layers.go_to(self.project.viewer, SIDES[row["side"]], centre)

    def _object_row(self, number: int) -> dict[str, str] | None:
        if self.scores is None or self.shown is None:
            return None
        rows = self.scores.objects.get(self.shown.id, [])
        return rows[number] if 0 <= number < len(rows) else None

    def _on_click(self, viewer: Any, event: Any) -> None:
        """Select the row of a clicked object."""
        if self.shown is None or not self.isVisible() or self.scores is None:
            return
        for side, name in SIDES.items():
            number = layers.object_at(viewer, name, event.position)
            for line, row in enumerate(self.scores.objects.get(self.shown.id, [])):
                if number and row["side"] == side and int(row["object"]) == number:
                    self.objects.blockSignals(True)
                    self.objects.selectRow(line)
                    self.objects.blockSignals(False)
                    return


def _form() -> Form:
    form = Form(PAGES["compare"])
    form.add_text(
        "predictions", "Predictions", "A predictions.csv.", "predictions/predictions.csv", "file"
    )
    form.add_text("truth", "Truth", "A manifest: dataset.csv, test.csv ...", "test.csv", "file")
    form.add_text("output", "Scores", "Folder of the scores; it is replaced.", "scores", "folder")
    return form


def _other_form() -> Form:
    form = Form(PAGES["compare"])
    form.add_text(
        "a",
        "Other scores",
        "Scores of another model on the same images: a folder, or runs:/ID.",
        "scores_before",
        "folder",
    )
    return form


def _number(text: str, form: str) -> str:
    """Return a number of a table in a format; a text without a format, and "", as they are."""
    return format(float(text), form) if text and form else text


def _table() -> QTableWidget:
    table = QTableWidget()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setMinimumHeight(130)
    return table


def _fill(table: QTableWidget, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table.blockSignals(True)
    table.clear()
    table.setColumnCount(len(columns))
    table.setHorizontalHeaderLabels(list(columns))
    table.setRowCount(len(rows))
    for line, cells in enumerate(rows):
        for column, text in enumerate(cells):
            table.setItem(line, column, QTableWidgetItem(text))
    table.resizeColumnsToContents()
    table.blockSignals(False)
