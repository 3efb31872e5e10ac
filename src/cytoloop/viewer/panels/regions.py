"""The part Regions of the panel Curate: draw or paint, then exclude, merge, or mark as finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QLabel, QSpinBox, QVBoxLayout, QWidget

from cytoloop.errors import ConfigError
from cytoloop.io.voxel_size import Spacing
from cytoloop.viewer.panels import layers
from cytoloop.viewer.panels.background import in_words
from cytoloop.viewer.panels.current import CurrentImage
from cytoloop.viewer.panels.fields import push_button, row_of
from cytoloop.viewer.session.history import Action
from cytoloop.viewer.session.images import LoadedImage
from cytoloop.viewer.session.regions import (
    SCOPES,
    Shape,
    add_region,
    clear_regions,
    finish,
    planes_of_brush,
    planes_of_shapes,
    region_mask,
)

_TOOLS = {
    "Polygon": "add_polygon",
    "Rectangle": "add_rectangle",
    "Ellipse": "add_ellipse",
    "Brush": "paint",
}


@dataclass(frozen=True)
class Drawn:
    """What was drawn, taken from the layers; its mask is computed in a thread."""

    shapes: list[Shape]
    painted: np.ndarray | None
    scope: str
    first: int
    last: int
    plane: int

    def mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the mask of the region.

        Raises
        ------
        ConfigError
            Nothing was drawn, or it covers no pixel in these slices.
        """
        if self.painted is not None and not self.shapes:
            planes = planes_of_brush(self.painted)
        else:
            planes = planes_of_shapes(self.shapes, shape, self.plane)
        if len(shape) == 3 and self.scope == "this slice":
            planes = {z: plane for z, plane in planes.items() if z == self.plane}
            if not planes:
                raise ConfigError(
                    "region",
                    f"nothing is drawn in slice {self.plane}",
                    "Go to the slice, or choose all slices.",
                )
        return region_mask(planes, shape, self.scope, self.first, self.last)


class RegionBox(QWidget):
    """Tools to draw, the range of slices, and what becomes of the region.

    Parameters
    ----------
    current : CurrentImage
    """

    def __init__(self, current: CurrentImage) -> None:
        super().__init__()
        self.current = current
        self._is_used = False
        report = current.project.report
        tools = [
            push_button(
                name,
                f"Draw with the {name.lower()} on the image.",
                in_words(report, self._tool(name)),
            )
            for name in _TOOLS
        ]
        self.scope = QComboBox()
        self.scope.addItems(list(SCOPES))
        self.scope.setCurrentText("all slices")
        self.scope.setToolTip(
            "Slices that the region covers. In a range, a region drawn in one slice is repeated; "
            "drawn in several slices, it is interpolated between them."
        )
        self.first, self.last = QSpinBox(), QSpinBox()
        for box, text in ((self.first, "First slice."), (self.last, "Last slice.")):
            box.setToolTip(text)
        self.range = row_of(self.first, QLabel("to"), self.last)
        self.slices = row_of(QLabel("Covers"), self.scope, self.range)
        self.scope.currentTextChanged.connect(lambda _: self._show_range())
        uses = [
            push_button(
                "Exclude", "Training ignores the region.", in_words(report, self._add("exclude"))
            ),
            push_button(
                "Merge",
                "In the region, training learns the other segmentation.",
                in_words(report, self._add("merge")),
            ),
            push_button(
                "Finished",
                "The region is labelled completely; what is not finished is excluded.",
                in_words(report, self.finish_region),
            ),
        ]
        whole = [
            push_button(
                "Slice is finished",
                "The visible slice is labelled completely; what is not finished is excluded.",
                in_words(report, self.finish_slice),
            ),
            push_button(
                "Image is finished",
                "All slices are labelled completely.",
                in_words(report, self.finish_image),
            ),
        ]
        clear = [
            push_button(
                f"Clear {text}",
                f"Take back all {text} regions of this image.",
                in_words(report, self._clear(kind)),
            )
            for kind, text in (("exclude", "excluded"), ("merge", "merged"))
        ]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 4)
        layout.setSpacing(4)
        for row in (row_of(*tools), self.slices, row_of(*uses), row_of(*whole), row_of(*clear)):
            layout.addWidget(row)
        current.shown.connect(self._shown)
        self._show_range()

    def use_tool(self, name: str) -> None:
        """Choose a tool: ``Polygon``, ``Rectangle``, ``Ellipse`` or ``Brush``."""
        self._tool(name)()

    def exclude(self) -> None:
        """Exclude the drawn region."""
        self._add("exclude")()

    def merge(self) -> None:
        """Merge the other segmentation in the drawn region."""
        self._add("merge")()

    def finish_slice(self) -> None:
        """Mark the visible slice as finished."""
        image, plane = self._image(), self.current.plane
        finished = np.zeros(image.shape, bool)
        finished[plane if len(image.shape) == 3 else slice(None)] = True
        self._finish(lambda: finished)

    def finish_image(self) -> None:
        """Mark the whole image as finished."""
        self._finish(lambda: None)

    def finish_region(self) -> None:
        """Mark the drawn region as finished."""
        shape, drawn = self._image().shape, self._drawn()
        self._finish(lambda: drawn.mask(shape), uses_drawing=True)

    def _finish(
        self, finished: Callable[[], np.ndarray | None], uses_drawing: bool = False
    ) -> None:
        image, row_id, dataset = self._image(), self.current.id, self.current.dataset
        shape, spacing = image.shape, image.spacing_um
        self._do(lambda: finish(dataset, row_id, finished(), shape, spacing), uses_drawing)

    def _tool(self, name: str) -> Callable[[], None]:
        def choose() -> None:
            image = self._image()
            if name == "Brush" and image.is_large:
                raise ConfigError(
                    "brush", "this image stays on disk", "Draw a polygon, rectangle or ellipse."
                )
            viewer = self.current.project.viewer
            place = layers.place_of(image.spacing_um, len(image.shape))
            layer = layers.drawing_layer(
                viewer, layers.PAINT if name == "Brush" else layers.DRAW, image.shape, place
            )
            viewer.layers.selection.active = layer
            layer.mode = _TOOLS[name]

        return choose

    def _add(self, kind: str) -> Callable[[], None]:
        def add() -> None:
            image, state = self._image(), self.current.state
            drawn, row_id, dataset = self._drawn(), self.current.id, self.current.dataset
            opposite = state.merged if kind == "exclude" else state.excluded  # type: ignore[union-attr]
            shape: tuple[int, ...] = image.shape
            spacing: Spacing | None = image.spacing_um
            self._do(
                lambda: add_region(
                    dataset, row_id, kind, drawn.mask(shape), spacing, np.asarray(opposite)
                ),
                uses_drawing=True,
            )

        return add

    def _clear(self, kind: str) -> Callable[[], None]:
        def clear() -> None:
            row_id, dataset = self.current.id, self.current.dataset
            self._do(lambda: clear_regions(dataset, row_id, kind))

        return clear

    def _do(self, make: Callable[[], Action], uses_drawing: bool = False) -> None:
        """Do an action; what it used of the drawing is removed when it is on disk."""

        def made() -> Action:
            action = make()
            self._is_used = uses_drawing
            return action

        self.current.do(made)

    def _image(self) -> LoadedImage:
        if self.current.image is None:
            raise ConfigError("region", "no image is shown", "Choose an image of the queue.")
        return self.current.image

    def _drawn(self) -> Drawn:
        viewer = self.current.project.viewer
        shapes, painted = (layers.find_layer(viewer, n) for n in (layers.DRAW, layers.PAINT))
        found: list[Shape] = []
        if shapes is not None:
            kinds: list[str] = list(shapes.shape_type)
            found = [
                Shape(kind, np.array(data)) for kind, data in zip(kinds, shapes.data, strict=True)
            ]
        values: Any = None if painted is None else painted.data.copy()
        return Drawn(
            found,
            values,
            self.scope.currentText(),
            self.first.value(),
            self.last.value(),
            self.current.plane,
        )

    def _shown(self) -> None:
        if self._is_used:
            self._is_used = False
            layers.remove_drawing_layers(self.current.project.viewer)
        image = self.current.image
        if image is None:
            return
        is_stack = len(image.shape) == 3
        self.slices.setVisible(is_stack)
        if is_stack:
            for box in (self.first, self.last):
                is_new = box.maximum() != image.shape[0] - 1
                box.setRange(0, image.shape[0] - 1)
                if is_new and box is self.last:
                    box.setValue(image.shape[0] - 1)

    def _show_range(self) -> None:
        is_range = self.scope.currentText() == SCOPES[1]
        self.range.setVisible(is_range)
