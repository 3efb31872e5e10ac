"""The panel Predict: a model and images in, results as layers; threshold and seeds as sliders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from cytoloop.errors import ConfigError
from cytoloop.manifest import Row
from cytoloop.viewer.panels import layers, views
from cytoloop.viewer.panels.data import short_path
from cytoloop.viewer.panels.fields import Form, MessageLabel, push_button, row_of
from cytoloop.viewer.panels.layer_input import LayerInput
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.panels.runner import Runner
from cytoloop.viewer.panels.sliders import SliderBox
from cytoloop.viewer.session.commands import predict_words, reprocess_words
from cytoloop.viewer.session.docs import PAGES
from cytoloop.viewer.session.layer_files import predicted_count
from cytoloop.viewer.session.thresholds import StoredMaps, load_maps, read_rows, try_settings
from cytoloop.viewer.session.trainings import finished_models

_MARKS = {"done": "\u2713", "failed": "\u2717"}


class PredictPanel(QWidget):
    """Predict images, look at the results, and choose threshold and seeds for all of them.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.rows: list[Row] = []
        self.stored: StoredMaps | None = None
        self.table = ""
        self.form = _form()
        self.runner = Runner(
            "predict",
            "Predict",
            "Predict all images; results are written while it runs.",
            self._values,
            predict_words,
            project.background,
        )
        self.runner.finished.connect(self._predicted)
        box: Any = self.form.fields["input"]
        self.layer_input = LayerInput(project.viewer, box)
        self.runner.prepare = self.layer_input.as_file
        self.form.changed.connect(self.runner.show_command)
        self.results = QListWidget()
        self.results.setMinimumHeight(120)
        self.results.setToolTip("Predicted images; choose one to see it.")
        self.results.currentRowChanged.connect(self._chosen)
        self.note = MessageLabel()
        self.sliders = SliderBox()
        self.sliders.changed.connect(self._try)
        self.apply = Runner(
            "predict",
            "Apply to all images",
            "Make objects of all images with these values, from the stored maps; no network runs.",
            self._slider_values,
            _apply_words,
            project.background,
        )
        self.apply.finished.connect(self._applied)
        open_button = push_button(
            "Open results ...", "Open the folder of earlier predictions.", self._choose_results
        )
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        for widget in (
            self.form,
            row_of(push_button("Update lists", "Look for models and layers.", self.refresh)),
            self.runner,
            self.results,
            self.note,
            self.sliders,
            self.apply,
            open_button,
        ):
            layout.addWidget(widget)
        layout.setStretchFactor(self.results, 1)
        layout.addStretch(0)
        self._show_tools(False)
        project.model_chosen.connect(self.use_model)
        self._wanted = -1
        self.refresh()

    def refresh(self) -> None:
        """Look for trained models and for layers that can be predicted."""
        self.layer_input.refresh()
        self.project.background.run_unasked(finished_models, self._show_models)

    def use_model(self, model: str) -> None:
        """Fill in a model."""
        self.form.set_value("checkpoint", model)
        if not self.form.value("output"):
            self.form.set_value("output", "predictions")

    def show_table(self, table: str) -> None:
        """Show the results of a ``predictions.csv``, or of the folder that holds it."""

        def show(rows: list[Row]) -> None:
            self.rows = rows
            self.table = str(rows[0].root / "predictions.csv")
            self._fill_results()

        self.project.background.run(lambda: read_rows(table), show)

    def _values(self) -> dict[str, str]:
        values = self.form.values()
        folder = Path(values["output"])
        self.runner.progress = lambda: predicted_count(folder)
        self.layer_input.choose(values["input"])
        return values

    def _show_models(self, models: list[Path]) -> None:
        box: Any = self.form.fields["checkpoint"]
        chosen = box.currentText()
        box.clear()
        box.addItems(["", *map(str, models)])
        box.setCurrentText(chosen)

    def _show_tools(self, is_shown: bool) -> None:
        """Show the results and the sliders once there are results."""
        for widget in (self.results, self.sliders, self.apply):
            widget.setVisible(is_shown)

    def _fill_results(self) -> None:
        self._show_tools(bool(self.rows))
        row = self.results.currentRow()
        self.results.blockSignals(True)
        self.results.clear()
        for one in self.rows:
            text = f"{_MARKS.get(one['status'], '')} {one.id}"
            text += f"  {one['objects']} objects" if one["objects"] else ""
            text += f"  {one['reason']}" if one["status"] == "failed" else ""
            item = QListWidgetItem(text)
            item.setToolTip(one["reason"] or one.location("raw"))
            self.results.addItem(item)
        self.results.blockSignals(False)
        self.results.setCurrentRow(min(max(row, 0), len(self.rows) - 1))

    def _chosen(self, number: int) -> None:
        if not 0 <= number < len(self.rows):
            return
        self._wanted = number
        row = self.rows[number]
        self.project.background.run(
            lambda: load_maps(row), lambda found: self._show_maps(number, found), self._no_maps
        )

    def _no_maps(self, text: str) -> None:
        self.stored = None
        self.note.show_error(text)

    def show_again(self) -> None:
        """Show the layers of this panel, if another panel has replaced them."""
        if self.stored is not None and self.project.stage != "predict":
            self._show_layers(self.stored)

    def _show_layers(self, stored: StoredMaps) -> None:
        viewer = self.project.viewer
        self.project.show("predict", views.show_prediction(viewer, stored, self._place(stored)))

    def _place(self, stored: StoredMaps) -> layers.Place:
        """Return where results lie: on the layer that was predicted, if it was one."""
        raw = next((row.file("raw") for row in self.rows if row.id == stored.id), None)
        ndim = stored.maps["probability"].ndim
        return self.layer_input.place(raw, ndim) or layers.place_of(stored.spacing_um, ndim)

    def _show_maps(self, number: int, stored: StoredMaps) -> None:
        if number != self._wanted:
            return
        is_first = self.stored is None
        self.stored = stored
        if self.project.may_show("predict"):
            self._show_layers(stored)
        self.note.show_note(f"{stored.id}: move a slider to try other values on it")
        if is_first:
            self.sliders.start(stored)

    def _try(self) -> None:
        stored = self.stored
        if stored is None:
            return
        self.apply.show_command()
        settings, plane = self.sliders.settings(), layers.visible_plane(self.project.viewer)

        def show(found: tuple[np.ndarray, slice]) -> None:
            if self.stored is stored and self.project.may_show("predict"):
                self.show_again()
                viewer, place = self.project.viewer, self._place(stored)
                self.project.display.add(views.show_trial(viewer, stored, place, *found))
                count = len(np.unique(found[0])) - 1
                self.note.show_note(f"{count} objects with these values")
            self.sliders.ready()

        def failed(text: str) -> None:
            self.sliders.ready()
            self.note.show_error(text)

        self.project.background.run(lambda: try_settings(stored, settings, plane), show, failed)

    def _slider_values(self) -> dict[str, str]:
        numbers = {name: f"{value:g}" for name, value in self.sliders.settings().items()}
        return {"table": self.table and short_path(self.table), **numbers}

    def _predicted(self, status: int) -> None:
        table = Path(self.form.value("output")) / "predictions.csv"
        self.stored = None
        self.show_table(str(table))
        if status == 0:
            self.project.predicted.emit(str(table))

    def _applied(self, status: int) -> None:
        if status == 0:
            self.project.display.add(views.remove_trial(self.project.viewer))
            self.show_table(self.table)
            self.project.predicted.emit(self.table)

    def _choose_results(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of predictions")
        if folder:
            self.show_table(folder)
            self.project.predicted.emit(str(Path(folder) / "predictions.csv"))


def _apply_words(values: Mapping[str, str]) -> list[str]:
    if not values["table"]:
        raise ConfigError("apply", "no results are shown", "Predict images, or open results.")
    numbers = {name: float(text) for name, text in values.items() if name != "table"}
    return reprocess_words(Path(values["table"]), numbers)


def _form() -> Form:
    form = Form(PAGES["predict"])
    form.add_choice(
        "checkpoint",
        "Model",
        "A model that was trained here, a file, runs:/ID or models:/NAME@ALIAS.",
        [""],
        editable=True,
        browse="folder",
    )
    form.add_choice(
        "input",
        "Images",
        "A folder, pattern, image, table or OME-Zarr plate; or a layer of napari, which is saved "
        "as a file first.",
        [""],
        editable=True,
        browse="both",
    )
    form.add_text("output", "Results", "Folder of the results.", "predictions", "folder")
    form.add_text(
        "channel",
        "Channel",
        "Name or number of the channel; empty: as in training.",
        "as in training",
    )
    return form
