"""Layers of napari as images to predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox

from cytoloop.errors import ConfigError
from cytoloop.viewer.panels.layers import Place, pixels_of, place_of_layer
from cytoloop.viewer.session.layer_files import LAYER, save_layer, saved_layer, spacing_of


class LayerInput:
    """The layers in the field of images, and what becomes of the chosen one.

    Parameters
    ----------
    viewer : napari.Viewer
    box : QComboBox
        The field.
    """

    def __init__(self, viewer: Any, box: QComboBox) -> None:
        self._viewer, self._box = viewer, box
        self._chosen: Any = None
        for changed in ("inserted", "removed"):
            getattr(viewer.layers.events, changed).connect(self.refresh)

    def refresh(self, event: Any = None) -> None:
        """List the images that others opened; those of the panels are files already."""
        chosen = self._box.currentText()
        names = [
            f"{LAYER}{layer.name}"
            for layer in self._viewer.layers
            if type(layer).__name__ == "Image" and not layer.metadata.get("cytoloop")
        ]
        if names == [self._box.itemText(number) for number in range(1, self._box.count())]:
            return
        self._box.clear()
        self._box.addItems(["", *names])
        self._box.setCurrentText(chosen)

    def choose(self, text: str) -> None:
        """Remember the layer that the field names, if it names one."""
        name = text.removeprefix(LAYER)
        is_known = name != text and name in self._viewer.layers
        self._chosen = self._viewer.layers[name] if is_known else None

    def as_file(self, values: Mapping[str, str]) -> Mapping[str, str]:
        """Return the values with a file in place of the chosen layer; writes it, in a thread.

        Raises
        ------
        ConfigError, ImageError
            There is no such layer, it has other axes, or the folder of results is not filled in.
        """
        if not values["input"].startswith(LAYER):
            return values
        layer = self._chosen
        if layer is None:
            raise ConfigError("predict", f"there is no {values['input']}", "Choose another one.")
        if not values["output"]:
            raise ConfigError("predict", "Results is empty", "Fill in a folder.")
        spacing, is_colour = spacing_of(layer.scale, layer.units), getattr(layer, "rgb", False)
        folder = Path(values["output"])
        path = save_layer(folder, layer.name, pixels_of(layer), spacing, is_colour)
        return {**values, "input": str(path)}

    def place(self, raw: Path | None, ndim: int) -> Place | None:
        """Return the place of the layer that was saved as a raw image, None for other images."""
        known = {layer.name: layer for layer in self._viewer.layers}
        name = None if raw is None else saved_layer(raw, list(known))
        if name is None or known[name].ndim != ndim:
            return None
        return place_of_layer(known[name])
