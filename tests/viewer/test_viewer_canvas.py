"""The canvas of a window that is shown: OpenGL contexts, and whose layers are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_tiff
from test_viewer_curate import Window, dataset, decisions_of, window  # noqa: F401

from cytoloop.io.labels import read_labels
from cytoloop.manifest import read_manifest, write_manifest

pytestmark = pytest.mark.viewer


def test_a_layer_is_removed_in_the_context_of_the_canvas(
    make_napari_viewer: Any, qtbot: Any, project: Path
) -> None:
    """A driver crashed when shaders were deleted while another context was the current one."""
    from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
    from qtpy.QtWidgets import QOpenGLWidget

    window = Window(make_napari_viewer(show=True), qtbot, project)  # noqa: F811
    main = window.panels.window()
    canvas = main.findChild(QOpenGLWidget)
    layer = window.viewer.add_labels(np.ones((9, 9), np.uint8))
    qtbot.waitUntil(canvas.isValid)
    other, surface = QOpenGLContext(), QOffscreenSurface()
    surface.create()
    assert other.create() and other.makeCurrent(surface)
    seen = []
    window.viewer.layers.events.removed.connect(
        lambda event: seen.append(QOpenGLContext.currentContext())
    )
    window.viewer.layers.remove(layer)
    assert seen == [canvas.context()]
    window.wait()
    window.panels.close_threads()


@pytest.fixture
def predictions(project: Path, dataset: Path) -> Path:  # noqa: F811
    """A ``predictions.csv`` of the images of the data set."""
    rows = []
    for row in read_manifest(dataset / "dataset.csv"):
        labels = read_labels(row.file("seg1") or "")
        for name, pixels in (("labels", labels), ("probability", (labels > 0) * np.uint8(250))):
            write_tiff(project / "preds" / name / f"{row.id}.tif", pixels)
        found = {name: f"{name}/{row.id}.tif" for name in ("labels", "probability")}
        rows.append({"id": row.id, "raw": row["raw"], **found, "status": "done"})
    write_manifest(project / "preds" / "predictions.csv", rows, tuple(rows[0]))
    return project / "preds" / "predictions.csv"


def test_a_panel_shows_its_own_layers_and_decides_only_on_them(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
    predictions: Path,
) -> None:
    from qtpy.QtCore import Qt

    window.heartbeat.stop()  # napari collects garbage for each layer that it removes
    window.open(dataset)
    panels, shown = window.panels, window.viewer.layers
    panels.predict.show_table(str(predictions))
    panels.tabs.setCurrentIndex(3)
    window.wait(lambda: "probability" in shown)
    panels.project.predicted.emit(str(predictions))
    window.wait(lambda: bool(window.curate.predictions))
    assert "probability" in shown and "target" not in shown  # Curate waits until it is looked at
    window.key(Qt.Key.Key_K)  # it would decide on an image that nobody sees
    assert decisions_of(dataset) == {}
    assert f"Look at {window.current.id}" in window.error() and "target" in shown
    panels.tabs.setCurrentIndex(1)
    panels.tabs.setCurrentIndex(3)
    window.wait(lambda: "probability" in shown)
    assert shown["prediction"].visible
    panels.tabs.setCurrentIndex(1)
    window.wait(lambda: {"target", "prediction"} < {layer.name for layer in shown})
    first = window.current.id
    window.curate.regions.use_tool("Rectangle")
    shown["draw region"].add_rectangles([[2, 5, 5], [2, 5, 20], [2, 20, 20], [2, 20, 5]])
    panels.tabs.setCurrentIndex(3)
    panels.tabs.setCurrentIndex(1)
    window.wait()
    assert len(shown["draw region"].data) == 1  # what is drawn is not lost
    window.key(Qt.Key.Key_K)
    assert decisions_of(dataset)[first].decision == "keep"
