"""The panel Data: choose images and segmentations, see the pairs, make or open a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QSize
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cytoloop.manifest import Row
from cytoloop.viewer.panels.fields import Form, MessageLabel, push_button, warning_colour
from cytoloop.viewer.panels.first import FirstBox
from cytoloop.viewer.panels.folding import Folding
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.panels.views import show_pair
from cytoloop.viewer.session.commands import curate_words
from cytoloop.viewer.session.dataset import QueueEntry
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.images import LoadedImage, load_image
from cytoloop.viewer.session.pairs import PairRow, describe, preview_pairs, thumbnail

_COLUMNS = ("image", "size", "segmentation", "problem")
_MAX_THUMBNAILS = 60
_PROBLEM = 3
"""Column of the problem. It stands behind the image, and is hidden if there is none."""


def short_path(path: str | Path) -> str:
    """Return a path relative to the working folder, if it is below it."""
    found = Path(os.path.abspath(path))
    return str(found.relative_to(Path.cwd())) if found.is_relative_to(Path.cwd()) else str(path)


class DataPanel(QWidget):
    """Folders in, a data set out.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.rows: list[PairRow] = []
        self.form = _form()
        self.form.changed.connect(self._preview)
        self.summary = MessageLabel()
        self.table = _table()
        self.table.cellDoubleClicked.connect(self._open_row)
        self.runner = Runner(
            "curate",
            "Make data set",
            "Check all images, split them into training, validation and test, write the data set.",
            self._values,
            curate_words,
            project.background,
        )
        self.runner.finished.connect(self._made)
        open_button = push_button(
            "Open a data set ...", "Open the folder of an existing data set.", self._choose_dataset
        )
        layout = QVBoxLayout(self)
        self.first = FirstBox(project, self.form.values)
        self.first.made.connect(self._use_first)
        parts = (
            *(self.form, self.summary, self.table),
            Folding("No labels yet: a first segmentation", self.first),
            *(self.runner, open_button),
        )
        for widget in parts:
            layout.addWidget(widget)
        layout.setStretchFactor(self.table, 1)
        self.setAcceptDrops(True)

    def choose_images(self, text: str) -> None:
        """Fill in the images; a folder with ``raw`` and ``seg`` fills in both."""
        folder = Path(text)

        def look() -> tuple[str, str]:
            if (folder / "raw").is_dir() and (folder / "seg").is_dir():
                return short_path(folder / "raw"), short_path(folder / "seg")
            return short_path(text), ""

        def fill(found: tuple[str, str]) -> None:
            self.form.set_value("raw", found[0])
            self.form.set_value("seg1", found[1])
            if not self.form.value("output"):
                self.form.set_value("output", "dataset")

        self.project.background.run(look, fill)

    def dragEnterEvent(self, event: Any) -> None:
        """Accept files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Fill in the images, or the segmentations if images are known."""
        paths = [url.toLocalFile() for url in event.mimeData().urls()]
        for path in paths[:2]:
            key = "raw" if not self.form.value("raw") else "seg1"
            self.form.set_value(key, path)

    def _values(self) -> dict[str, str]:
        return self.form.values() | {"report": "true"}

    def _preview(self) -> None:
        values = self.form.values()
        self.project.background.run(
            lambda: preview_pairs(values), self._show_pairs, self._show_no_pairs
        )
        self.runner.show_command()
        self.first.show_command()

    def _show_no_pairs(self, text: str) -> None:
        self.table.setRowCount(0)
        self.summary.show_error(text)

    def _show_pairs(self, rows: list[PairRow]) -> None:
        self.rows = rows
        self.summary.show_note(describe(rows) if rows else "")
        self.table.setRowCount(len(rows))
        self.table.setColumnHidden(_PROBLEM, not any(row.problem for row in rows))
        red = warning_colour(self.table)
        for number, row in enumerate(rows):
            size = " x ".join(map(str, row.shape))
            segmentation = Path(row.seg1).name if row.seg1 else "none"
            for column, text in enumerate((row.id, size, segmentation, row.problem)):
                item = QTableWidgetItem(text)
                item.setToolTip(row.problem or f"{row.raw}\n{row.seg1}")
                if row.problem:
                    item.setForeground(red)
                self.table.setItem(number, column, item)
        self._fill_channels(rows)
        shown = [(number, row) for number, row in enumerate(rows[:_MAX_THUMBNAILS]) if row.raw]
        for number, row in shown:
            path = row.raw
            self.project.background.run(
                lambda path=path: thumbnail(path, 0),  # type: ignore[misc]
                lambda picture, number=number, path=path: self._show_picture(  # type: ignore[misc]
                    number, path, picture
                ),
                lambda _: None,
            )

    def _show_picture(self, number: int, path: str, picture: np.ndarray) -> None:
        item = self.table.item(number, 0)
        if item is None or number >= len(self.rows) or self.rows[number].raw != path:
            return
        height, width = picture.shape
        pixels = np.ascontiguousarray(picture)
        image = QImage(pixels.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
        item.setIcon(QIcon(QPixmap.fromImage(image)))

    def _fill_channels(self, rows: list[PairRow]) -> None:
        names = sorted({name for row in rows for name in row.channels})
        box: Any = self.form.fields["channel"]
        several = any(len(row.channels) > 1 for row in rows)
        known = [box.itemText(i) for i in range(1, box.count())]
        if several and names != known:
            box.clear()
            box.addItems(["", *names])

    def _open_row(self, row: int, _: int) -> None:
        """Show an image of the table."""
        pair = self.rows[row]
        values = {"raw": pair.raw, "seg1": pair.seg1, "id": pair.id}
        entry = QueueEntry(pair.id, Row(values), 1)

        def show(found: LoadedImage) -> None:
            self.project.show("data", show_pair(self.project.viewer, found))

        self.project.background.run(lambda: load_image(entry), show)

    def _use_first(self, folder: str) -> None:
        """Take the first segmentation as the segmentation of the images."""
        self.form.set_value("seg1", short_path(folder))

    def _made(self, status: int) -> None:
        if status == 0:
            self.project.open_dataset(self.form.value("output"))

    def _choose_dataset(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a data set")
        if folder:
            self.project.open_dataset(folder)


def _form() -> Form:
    form = Form(PAGES["data"])
    form.add_text(
        "raw",
        "Images",
        "Folder, pattern or table of the images; or a Segmenter ML experiment. Images and "
        "segmentations are paired by name. See Curation in the documentation.",
        "folder of images",
        "both",
    )
    form.add_text(
        "seg1",
        "Segmentations",
        "Folder of the segmentations: 0 is background, 1, 2 ... are objects.",
        "folder of segmentations",
        "folder",
    )
    form.add_text(
        "seg2",
        "Second one",
        "Optional: another segmentation of the same images, to merge with the first.",
        "optional",
        "folder",
    )
    form.add_choice(
        "channel",
        "Channel",
        "Name or number of the channel of the images; empty uses all channels.",
        [""],
        editable=True,
    )
    form.add_text(
        "spacing_um",
        "Voxel size",
        "Size of a voxel in um: [z,y,x]. Empty uses what the files state.",
        "as the files state, or [z,y,x] in um",
    )
    form.add_text(
        "key",
        "Name pattern",
        "Optional: a regular expression with (?P<id>...) that finds the common part of the names.",
        "optional: (?P<id>...)",
    )
    form.add_choice(
        "on_problem",
        "Bad images",
        "refuse: write nothing while an image has a problem. reject: leave such images out and "
        "note the reason.",
        ["refuse", "reject"],
    )
    form.add_text("output", "Data set", "Folder of the data set that is made.", "dataset", "folder")
    return form


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setHorizontalHeaderLabels(list(_COLUMNS))
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setIconSize(QSize(40, 40))
    table.setMinimumHeight(170)
    table.setToolTip("Double-click a row to look at its image.")
    lines: Any = table.verticalHeader()
    lines.setVisible(False)
    lines.setDefaultSectionSize(44)
    header: Any = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
    header.setStretchLastSection(True)
    header.moveSection(_PROBLEM, 1)
    for column, width in enumerate((110, 110, 95, 230)):
        table.setColumnWidth(column, width)
    return table
