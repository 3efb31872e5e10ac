"""The part "Correct objects" of the panel Curate: click on objects to split, merge, add them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
from qtpy.QtWidgets import (
    QButtonGroup,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from cytoloop.errors import ConfigError
from cytoloop.truth.edits import Edit, cut_object
from cytoloop.viewer.panels import layers
from cytoloop.viewer.panels.background import in_words
from cytoloop.viewer.panels.current import CurrentImage
from cytoloop.viewer.panels.fields import push_button, row_of
from cytoloop.viewer.session.corrections import Correction
from cytoloop.viewer.session.tools import (
    TOOLS,
    Point,
    Tool,
    ToolSettings,
    edit_of_strokes,
    make_edit,
)


class CorrectBox(QWidget):
    """Tools that change objects in 3D. Each edit is saved at once and can be undone.

    Parameters
    ----------
    current : CurrentImage
    """

    def __init__(self, current: CurrentImage) -> None:
        super().__init__()
        self.current = current
        self.points: list[Point] = []
        self._group = QButtonGroup(self)
        self._group.setExclusive(False)
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        for number, tool in enumerate(TOOLS):
            button = QPushButton(tool.name)
            button.setCheckable(True)
            button.setToolTip(tool.help)
            button.clicked.connect(in_words(current.project.report, self._chosen(tool)))
            self._group.addButton(button)
            self.buttons[tool.name] = button
            grid.addWidget(button, number // 4, number % 4)
        self.hint = QLabel("Choose a tool, then click on the image.")
        self.hint.setWordWrap(True)
        self.radius = QDoubleSpinBox()
        self.radius.setRange(0.1, 1000)
        self.radius.setValue(3)
        self.radius.setToolTip("Radius of an added ball, in um.")
        self.sigma = QDoubleSpinBox()
        self.sigma.setRange(0.3, 20)
        self.sigma.setValue(1)
        self.sigma.setToolTip("Smooth: radius of the filter, in units of the shortest voxel side.")
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setToolTip("Interpolate: first slice in which the object is drawn.")
        self.last.setToolTip("Interpolate: last slice in which the object is drawn.")
        report = current.project.report
        paint = push_button(
            "Paint",
            "Paint objects of the layer target with napari's brush; pick the object with key L.",
            in_words(report, self._paint),
        )
        discard = push_button(
            "Discard corrections",
            "Go back to the given segmentations; can be undone.",
            in_words(report, self._discard),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 4)
        layout.setSpacing(4)
        layout.addLayout(grid)
        layout.addWidget(self.hint)
        layout.addWidget(row_of(QLabel("Ball"), self.radius, QLabel("Smooth"), self.sigma))
        self.slices = row_of(QLabel("Slices"), self.first, QLabel("to"), self.last)
        layout.addWidget(self.slices)
        layout.addWidget(row_of(paint, discard))
        current.project.viewer.mouse_drag_callbacks.append(self._on_mouse)
        current.shown.connect(self._shown)

    @property
    def tool(self) -> Tool | None:
        """The chosen tool."""
        return next((tool for tool in TOOLS if self.buttons[tool.name].isChecked()), None)

    def click(self, point: Point) -> None:
        """Use the chosen tool at a point ([z,] y, x) in voxels."""
        tool = self.tool
        if tool is None or tool.clicks == 0:
            return
        self.points.append(point)
        if len(self.points) < tool.clicks:
            self.hint.setText(f"{tool.name}: {tool.clicks - len(self.points)} more click.")
            return
        points, self.points = self.points, []
        self.hint.setText(tool.help)
        self.current.edit(self._edit(tool.name, points))

    def line(self, points: Iterable[Point]) -> None:
        """Cut along a line."""
        vertices = list(points)
        self.current.edit(lambda correction: cut_object(correction.labels, vertices))

    def _edit(self, name: str, points: list[Point]) -> Callable[[Correction], Edit]:
        """Return the function that makes the edit, in a thread."""
        image = self.current.image
        predicted = None if image is None else image.predicted
        settings = ToolSettings(
            self.sigma.value(),
            self.radius.value(),
            self.first.value(),
            self.last.value(),
            predicted if isinstance(predicted, np.ndarray) else None,
            self.current.depth,
        )
        return lambda correction: make_edit(name, points, correction, settings)

    def _chosen(self, tool: Tool) -> Callable[..., None]:
        def choose(is_on: bool) -> None:
            self.points = []
            for name, button in self.buttons.items():
                button.setChecked(is_on and name == tool.name)
            self.hint.setText(tool.help if is_on else "Choose a tool, then click on the image.")
            viewer = self.current.project.viewer
            target = layers.find_layer(viewer, layers.TARGET)
            if is_on and target is not None:
                viewer.layers.selection.active = target
                target.mode = "pan_zoom"
            # a drawn line must not move the image
            viewer.camera.mouse_pan = not (is_on and tool.clicks == 0)

        return choose

    def _on_mouse(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Collect a click or a line on the image."""
        tool, target = self.tool, layers.find_layer(viewer, layers.TARGET)
        if tool is None or target is None or event.button != 1:
            return
        if viewer.dims.ndisplay != 2:
            self.current.project.report("Objects are corrected in the 2D view: press Ctrl-Y.")
            return
        positions = [_voxel(target, event)]
        yield
        while event.type == "mouse_move":
            positions.append(_voxel(target, event))
            yield
        if tool.clicks == 0 and len(positions) > 1:
            in_words(self.current.project.report, self.line)(positions)
        elif tool.clicks:
            moved = np.abs(np.subtract(positions[-1], positions[0])).max()
            if moved < 3:
                in_words(self.current.project.report, self.click)(positions[0])

    def _paint(self) -> None:
        """Start napari's brush on the target."""
        target = layers.find_layer(self.current.project.viewer, layers.TARGET)
        if target is None:
            raise ConfigError("paint", "no image is shown", "Choose an image of the queue.")
        for button in self.buttons.values():
            button.setChecked(False)
        self.current.project.viewer.camera.mouse_pan = True
        self.current.project.viewer.layers.selection.active = target
        target.mode = "paint"

    def _discard(self) -> None:
        correction = self.current.correction()
        if not self.current.dataset.decision(self.current.id).labels:
            raise ConfigError(self.current.id, "nothing was corrected", "")
        self.current.do(correction.discard)

    def _shown(self) -> None:
        self.points = []
        image = self.current.image
        if image is None:
            return
        self.slices.setVisible(len(image.shape) == 3)
        if len(image.shape) == 3:
            for box in (self.first, self.last):
                box.setRange(0, image.shape[0] - 1)
        target = layers.find_layer(self.current.project.viewer, layers.TARGET)
        if target is not None and not target.metadata.get("painted"):
            target.metadata["painted"] = True
            target.events.paint.connect(self._painted)
            for key, act in (
                ("Control-Z", self.current.undo),
                ("Control-Shift-Z", self.current.redo),
            ):
                target.bind_key(key, _undo_key(act), overwrite=True)

    def _painted(self, event: Any) -> None:
        """Save a stroke of napari's brush as an edit."""
        strokes = list(event.value)
        in_words(self.current.project.report, self._save_strokes)(strokes)

    def _save_strokes(self, strokes: list[Any]) -> None:
        correction = self.current.correction()

        def make(correction: Correction) -> Edit:
            edit = edit_of_strokes(correction.labels, strokes)
            edit.revert(correction.labels)
            return edit

        self.current.do(lambda: correction.do(make(correction)))


def _voxel(layer: Any, event: Any) -> Point:
    return tuple(float(value) for value in layer.world_to_data(event.position))


def _undo_key(act: Callable[[], None]) -> Callable[[Any], None]:
    def undo(_: Any) -> None:
        act()

    return undo
