"""The list of images to review, with filters; it stays fast with thousands of images."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit, QListView, QVBoxLayout, QWidget

from cytoloop.viewer.panels.fields import row_of
from cytoloop.viewer.session.dataset import FILTERS, Dataset, QueueEntry

Index = QModelIndex | QPersistentModelIndex
_MARKS = {"keep": "\u2713", "reject": "\u2717", "undecided": "\u2013"}
_COLOURS = {
    "keep": QColor("#3fae5a"),
    "reject": QColor("#e0483e"),
    "undecided": QColor("transparent"),
}


class QueueModel(QAbstractListModel):
    """The images of a filter. Texts are made for visible rows only."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[QueueEntry] = []
        self.dataset: Dataset | None = None

    def show_entries(self, dataset: Dataset, entries: list[QueueEntry]) -> None:
        """Show other images."""
        self.beginResetModel()
        self.dataset, self.entries = dataset, entries
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Return the number of images."""
        return 0 if parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = 0) -> Any:
        """Return text, colour or tooltip of a row."""
        if not index.isValid() or self.dataset is None:
            return None
        entry = self.entries[index.row()]
        state = self.dataset.state(entry)
        if role == Qt.ItemDataRole.DisplayRole:
            corrected = "  corrected" if self.dataset.decision(entry.id).labels else ""
            flags = f"  [{entry.flags}]" if entry.flags else ""
            return f"{_MARKS[state]}  {entry.id}{corrected}{flags}"
        if role == Qt.ItemDataRole.DecorationRole:  # a square: legible on dark and light themes
            return _COLOURS[state]
        if role == Qt.ItemDataRole.ToolTipRole:
            reason = self.dataset.decision(entry.id).reason
            return "\n".join(filter(None, (entry.id, reason, entry.to_do)))
        return None


class QueueList(QWidget):
    """Filter, search and list of images."""

    chosen = Signal(str)
    """Another image was chosen; carries its id."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = QComboBox()
        self.filter.addItems(list(FILTERS))
        self.filter.setToolTip("Show only these images.")
        self.search = QLineEdit()
        self.search.setPlaceholderText("find by name")
        self.counts = QLabel()
        self.model = QueueModel()
        self.view = QListView()
        self.view.setModel(self.model)
        self.view.setUniformItemSizes(True)
        self.view.setMinimumHeight(110)
        self.view.setToolTip("Images in the order of review: those with the most flags come first.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (row_of(self.filter, self.search), self.view, self.counts):
            layout.addWidget(widget)
        self.filter.currentTextChanged.connect(lambda _: self.update_list())
        self.search.textChanged.connect(lambda _: self.update_list())
        selection = self.view.selectionModel()
        if selection is not None:
            selection.currentChanged.connect(self._current_changed)
        self._id = ""
        self._dataset: Dataset | None = None

    def show_dataset(self, dataset: Dataset) -> None:
        """Show a data set; the first image is chosen."""
        self._dataset, self._id = dataset, ""
        self.filter.setCurrentText("all")
        self.update_list()
        self.step(0)

    def update_list(self) -> None:
        """Apply the filter again; the chosen image stays."""
        if self._dataset is None:
            return
        entries = self._dataset.filtered(self.filter.currentText(), self.search.text())
        self.model.show_entries(self._dataset, entries)
        found = self._dataset.counts()
        self.counts.setText(
            f"{len(entries)} of {len(self._dataset.entries)} shown: {found['keep']} kept, "
            f"{found['reject']} rejected, {found['undecided']} undecided"
        )
        self.choose(self._id)

    def choose(self, row_id: str) -> None:
        """Choose an image; one that the filter hides changes nothing."""
        ids = [entry.id for entry in self.model.entries]
        if row_id in ids:
            self.view.setCurrentIndex(self.model.index(ids.index(row_id)))

    def step(self, by: int) -> None:
        """Choose the next (1) or previous (-1) image; 0 chooses the first one."""
        if not self.model.entries:
            return
        row = self.view.currentIndex().row()
        row = 0 if by == 0 or row < 0 else row + by
        self.view.setCurrentIndex(self.model.index(min(max(row, 0), len(self.model.entries) - 1)))

    def following(self, row_id: str) -> str:
        """Return the image after another one, "" at the end."""
        ids = [entry.id for entry in self.model.entries]
        row = ids.index(row_id) + 1 if row_id in ids else len(ids)
        return ids[row] if row < len(ids) else ""

    def _current_changed(self, now: Index, _: Index) -> None:
        if not now.isValid() or now.row() >= len(self.model.entries):
            return
        row_id = self.model.entries[now.row()].id
        if row_id != self._id:
            self._id = row_id
            self.chosen.emit(row_id)
