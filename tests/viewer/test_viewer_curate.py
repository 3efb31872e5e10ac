"""The panels Data and Curate in a real napari, by mouse and keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import make_images, write_tiff

from cytoloop.curation import CurationSettings, curate, read_decisions
from cytoloop.io.digest import file_hash
from cytoloop.io.labels import read_labels
from cytoloop.manifest import read_manifest
from cytoloop.truth.targets import read_target

pytestmark = pytest.mark.viewer
LONGEST_BLOCK = 2.0
"""Seconds of computing in the thread of the window without a look at its events, at most."""


class Heartbeat:
    """Measures how long the thread of the window computes without a look at its events.

    In seconds of that thread's CPU time: other processes of a busy machine do not count.
    `benchmarks/viewer.py` measures what a person waits.
    """

    def __init__(self, parent: Any) -> None:
        from qtpy.QtCore import QTimer

        self.longest, self._last = 0.0, time.thread_time()
        self._timer = QTimer(parent)
        self._timer.setInterval(10)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def stop(self) -> None:
        """Measure no more."""
        self._timer.stop()

    def _beat(self) -> None:
        now = time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now


class Window:
    """A napari with the panels, and what a person does with them."""

    def __init__(self, viewer: Any, qtbot: Any, folder: Path) -> None:
        self.viewer, self.qtbot, self.folder = viewer, qtbot, folder
        _, self.panels = viewer.window.add_plugin_dock_widget("cytoloop", "CytoLoop")
        self.curate = self.panels.curate
        self.current = self.curate.current
        layers = [viewer.add_image(np.zeros((9, 9))), viewer.add_labels(np.zeros((9, 9), int))]
        for layer in layers:  # napari imports what it shows layers with when it is first used
            viewer.layers.remove(layer)
        self.heartbeat = Heartbeat(self.panels)

    def wait(self, done: Callable[[], bool] = lambda: True, seconds: float = 60) -> None:
        def is_still() -> bool:
            project = self.panels.project
            threads = (project.background, project.actions, self.current, project.display)
            return done() and not any(thread.is_busy for thread in threads)

        self.qtbot.waitUntil(is_still, timeout=int(1000 * seconds))

    def open(self, folder: Path) -> None:
        self.panels.open(data_path=str(folder))
        self.wait(lambda: self.current.image is not None)

    def press(self, button: Any) -> None:
        from qtpy.QtCore import Qt

        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.wait()

    def key(self, key: Any, shift: bool = False, control: bool = False) -> None:
        from qtpy.QtCore import Qt

        modifier = Qt.KeyboardModifier.NoModifier
        modifier |= Qt.KeyboardModifier.ShiftModifier if shift else modifier
        modifier |= Qt.KeyboardModifier.ControlModifier if control else modifier
        self.qtbot.keyClick(self.panels.window(), key, modifier)
        self.wait()

    def click_image(self, *points: tuple[float, ...]) -> None:
        """Press and release the left button at points in voxels."""
        for point in points:
            self.mouse([point])
        self.wait()

    def mouse(self, path: list[tuple[float, ...]]) -> None:
        """Press the left button, move along a path in voxels, release it."""
        layer = self.viewer.layers["target"]
        event = SimpleNamespace(
            type="mouse_press", button=1, position=layer.data_to_world(path[0]), modifiers=()
        )
        running = [callback(self.viewer, event) for callback in self.viewer.mouse_drag_callbacks]
        steps = [one for one in running if one is not None]
        for step in steps:
            next(step, None)
        for point in path[1:]:
            event.type, event.position = "mouse_move", layer.data_to_world(point)
            for step in steps:
                next(step, None)
        event.type = "mouse_release"
        for step in steps:
            next(step, None)

    def error(self) -> str:
        return str(self.panels.error.text())


@pytest.fixture
def window(make_napari_viewer: Any, qtbot: Any, project: Path) -> Iterator[Window]:
    """A napari with the panels, in an empty working folder."""
    found = Window(make_napari_viewer(show=False), qtbot, project)
    yield found
    found.wait()
    found.panels.close_threads()
    assert found.heartbeat.longest < LONGEST_BLOCK


@pytest.fixture
def dataset(project: Path) -> Path:
    """Four stacks; in the second segmentation an object is missing."""
    images = make_images(project / "images", 4)
    make_images(project / "other", 4)
    for path in (project / "other" / "seg").glob("*.tif"):
        labels = read_labels(path)
        labels[labels == 1] = 0
        write_tiff(path, labels)
    curate(
        CurationSettings(
            raw=images / "raw",
            seg1=images / "seg",
            seg2=project / "other" / "seg",
            output=project / "dataset",
        )
    )
    return project / "dataset"


def decisions_of(folder: Path) -> dict[str, Any]:
    log = folder / "decisions.csv"
    return read_decisions(log) if log.is_file() else {}


def test_a_folder_becomes_the_data_set_that_the_command_line_writes(
    window: Window, project: Path
) -> None:
    make_images(project, 4)
    write_tiff(project / "raw" / "alone.tif", np.zeros((12, 40, 40), np.uint16))
    data = window.panels.data
    window.panels.open(images=str(project))
    window.wait(lambda: data.table.rowCount() == 5)
    assert data.table.item(0, 0).text() == "alone"
    assert "leave it out" in data.table.item(0, 3).text()
    assert "4 images can be used; 3D; 1 rows have problems" in data.summary.text()
    window.press(data.runner.start_button)
    window.wait(lambda: not data.runner.is_running and data.runner.process is not None)
    assert "alone" in data.runner.message.text()
    assert not (project / "dataset" / "dataset.csv").exists()
    data.form.set_value("on_problem", "reject")
    window.press(data.runner.start_button)
    window.wait(lambda: window.current.image is not None)
    assert window.panels.tabs.currentIndex() == 1
    words = data.runner.command.text.split()
    assert words[:2] == ["cytoloop", "curate"]
    clicked = file_hash(project / "dataset" / "dataset.csv")
    from cytoloop.__main__ import main

    window.heartbeat.stop()  # the verb runs in this thread, which is the window's
    (project / "dataset").rename(project / "clicked")
    assert main(words[1:]) == 0
    assert file_hash(project / "dataset" / "dataset.csv") == clicked


def test_decisions_by_keys_are_on_disk_and_undone(window: Window, dataset: Path) -> None:
    from qtpy.QtCore import Qt

    window.open(dataset)
    first = window.current.id
    window.curate.reason.setCurrentText("blurred")
    window.key(Qt.Key.Key_J)
    assert decisions_of(dataset)[first].decision == "reject"
    assert decisions_of(dataset)[first].reason == "blurred"
    second = window.current.id
    assert second != first
    window.key(Qt.Key.Key_K)
    assert decisions_of(dataset)[second].decision == "keep"
    window.key(Qt.Key.Key_Z, control=True)
    window.key(Qt.Key.Key_Z, control=True)
    assert {one.decision for one in decisions_of(dataset).values()} == {"undecided"}
    assert window.current.id == first
    window.key(Qt.Key.Key_Z, control=True, shift=True)
    assert decisions_of(dataset)[first].decision == "reject"
    window.key(Qt.Key.Key_N)
    assert window.current.id == second
    window.key(Qt.Key.Key_N, shift=True)
    assert window.current.id == first
    window.curate.queue.filter.setCurrentText("rejected")
    assert window.curate.queue.model.rowCount() == 1
    assert "1 of 4 shown: 0 kept, 1 rejected" in window.curate.queue.counts.text()


def test_regions_show_the_merged_target_and_reach_the_manifest(
    window: Window, dataset: Path
) -> None:
    from qtpy.QtWidgets import QPushButton

    window.open(dataset)
    row_id = window.current.id
    window.curate.base.setCurrentText("seg2")
    window.curate.base.activated.emit(1)
    window.wait()
    before = window.viewer.layers["target"].data
    assert not (before == 1).any()
    buttons = {one.text(): one for one in window.curate.regions.findChildren(QPushButton)}
    window.press(buttons["Merge"])
    assert "nothing is drawn" in window.error()
    window.press(buttons["Rectangle"])
    shapes = window.viewer.layers["draw region"]
    assert shapes.mode == "add_rectangle"
    shapes.add_rectangles(np.array([[0, 0], [0, 39], [39, 39], [39, 0]], float))
    window.press(buttons["Merge"])
    assert not window.error()
    assert "draw region" not in window.viewer.layers
    shown = window.viewer.layers["target"].data
    assert len(np.unique(shown)) == len(np.unique(before)) + 1
    window.press(buttons["Brush"])
    painted = window.viewer.layers["paint region"]
    painted.paint((3, 20, 20), 1)
    window.press(buttons["Exclude"])
    assert "already merged" in window.error()
    window.press(buttons["Clear merged"])
    window.curate.regions.scope.setCurrentText("slices from - to")
    window.curate.regions.first.setValue(2)
    window.curate.regions.last.setValue(5)
    window.press(buttons["Exclude"])
    excluded = window.viewer.layers["excluded"].data > 0
    assert np.flatnonzero(excluded.any(axis=(1, 2))).tolist() == [2, 3, 4, 5]
    window.press(window.curate.runner.start_button)
    window.wait(lambda: not window.curate.runner.is_running)
    row = {row.id: row for row in read_manifest(dataset / "dataset.csv")}[row_id]
    target, valid = read_target(row)
    assert np.array_equal(valid, ~excluded)
    assert np.array_equal(target, before)


def test_objects_are_corrected_by_clicks_and_nothing_is_lost(window: Window, dataset: Path) -> None:
    from qtpy.QtCore import Qt

    window.open(dataset)
    row_id = window.current.id
    original = window.viewer.layers["target"].data.copy()
    numbers = np.unique(original)[1:]
    centres = {n: tuple(np.argwhere(original == n).mean(axis=0).round()) for n in numbers}
    tools = window.curate.correct.buttons
    window.press(tools["Join"])
    window.click_image(centres[1], centres[2])
    assert set(np.unique(window.viewer.layers["target"].data)) == {0, 1, 3, 4, 5}
    window.press(tools["Split"])
    window.click_image(centres[1], centres[2])
    assert len(np.unique(window.viewer.layers["target"].data)) == 6
    window.press(tools["Delete"])
    window.click_image((0, 0, 0))
    assert "no object at the click" in window.error()
    window.click_image(centres[3])
    window.press(tools["Cut"])
    z, y, x = centres[4]
    window.mouse([(z, y - 8, x), (z, y, x), (z, y + 8, x)])
    window.wait()
    labels = window.viewer.layers["target"].data
    path = Path(decisions_of(dataset)[row_id].labels)
    assert np.array_equal(read_labels(path), labels)
    assert len(np.unique(labels)) == 6 and not (labels == 3).any()
    window.viewer.layers["target"].selected_label = 77
    window.viewer.layers["target"].brush_size = 3
    window.viewer.layers["target"].paint((6, 38, 38), 77)
    window.wait()
    assert (read_labels(path) == 77).any()
    for _ in range(5):
        window.key(Qt.Key.Key_Z, control=True)
    assert np.array_equal(window.viewer.layers["target"].data, original)
    assert decisions_of(dataset)[row_id].labels == ""
    window.key(Qt.Key.Key_Z, control=True, shift=True)
    assert decisions_of(dataset)[row_id].labels == str(path)
    joined = read_labels(path)
    window.panels.project.open_dataset(str(dataset))  # as after kill -9
    window.wait(lambda: window.current.id == row_id and window.current.image is not None)
    assert np.array_equal(window.viewer.layers["target"].data, joined)


def test_what_a_person_can_do_wrong_is_reported_in_words(window: Window, project: Path) -> None:
    window.panels.open(data_path=str(project))
    window.wait()
    assert "holds no dataset.csv" in window.error()
    window.press(window.curate.buttons["keep"])
    assert "No image is shown" in window.error()
    window.press(window.curate.correct.buttons["Split"])
    window.panels.data.form.set_value("raw", str(project / "nowhere"))
    window.wait(lambda: "nowhere" in window.panels.data.summary.text())
    window.press(window.panels.data.runner.start_button)
    window.wait(lambda: "Segmentations is empty" in window.panels.data.runner.message.text())
