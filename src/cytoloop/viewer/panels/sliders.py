"""Sliders for threshold, seeds and size of objects."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QGridLayout, QLabel, QSlider, QWidget

from cytoloop.viewer.session.thresholds import StoredMaps, tuned_settings

_STEPS = 200
_PAUSE_MS = 60
FIELDS = {
    "threshold": ("Threshold", 0.0, 0.99, "Probability above which a pixel belongs to an object."),
    "min_depth": (
        "Split depth",
        0.0,
        0.9,
        "How deep the valley between two halves must be to split an object; higher splits less.",
    ),
    "seed_smoothing": (
        "Seed smoothing",
        0.0,
        6.0,
        "Smooths the map whose peaks are the objects; higher gives fewer objects.",
    ),
    "haze": (
        "Haze",
        0.0,
        0.99,
        "Darker pixels are background: 0.5 = as around the objects, 0 = none is. Of a model of "
        "yours, predict with postprocess.haze=0.5 first.",
    ),
    "min_volume_um3": (
        "Smallest size",
        0.0,
        500.0,
        "Smaller objects are removed, in um3 (um2 in 2D; voxels without a voxel size).",
    ),
}


class SliderBox(QWidget):
    """A slider and a number for each setting."""

    changed = Signal()
    """Other values are to be tried. The next one comes after `ready` was called."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, QDoubleSpinBox] = {}
        self._without_slider: dict[str, float] = {}
        self.sliders: dict[str, QSlider] = {}
        self._is_trying, self._is_changed = False, False
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for line, (name, (label, low, high, text)) in enumerate(FIELDS.items()):
            number = QDoubleSpinBox()
            number.setRange(low, 1e6 if name == "min_volume_um3" else high)
            number.setDecimals(2)
            number.setSingleStep((high - low) / 100)
            slider = QSlider(Qt.Orientation.Horizontal)
            slider.setRange(0, _STEPS)
            number.setToolTip(text)
            slider.setToolTip(text)
            self.numbers[name], self.sliders[name] = number, slider
            slider.valueChanged.connect(self._moved(name, low, high))
            number.valueChanged.connect(self._typed(name, low, high))
            for column, cell in enumerate((QLabel(label), slider, number)):
                grid.addWidget(cell, line, column)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._try)

    def settings(self) -> dict[str, float]:
        """Return the values; a size of 0 keeps all objects."""
        shown = {name: float(number.value()) for name, number in self.numbers.items()}
        return self._without_slider | shown

    def start(self, stored: StoredMaps) -> None:
        """Start with the values that training chose for the model."""
        tuned = tuned_settings(stored)
        self._without_slider = {k: v for k, v in tuned.items() if k not in self.numbers}
        for name, number in self.numbers.items():
            value = tuned[name]
            number.blockSignals(True)
            number.setValue(value)
            number.blockSignals(False)
            for widget in (number, self.sliders[name]):
                widget.setEnabled(name != "haze" or "brightness" in stored.maps)
            _, low, high, _ = FIELDS[name]
            self._set_slider(name, value, low, high)

    def ready(self) -> None:
        """Say that the last values were tried."""
        self._is_trying = False
        if self._is_changed:
            self._timer.start()

    def _moved(self, name: str, low: float, high: float) -> Callable[[int], None]:
        return lambda step: self.numbers[name].setValue(low + (high - low) * step / _STEPS)

    def _typed(self, name: str, low: float, high: float) -> Callable[[float], None]:
        def typed(value: float) -> None:
            self._set_slider(name, value, low, high)
            self._is_changed = True
            self._timer.start()

        return typed

    def _set_slider(self, name: str, value: float, low: float, high: float) -> None:
        slider = self.sliders[name]
        slider.blockSignals(True)
        slider.setValue(round(min((value - low) / (high - low), 1) * _STEPS))
        slider.blockSignals(False)

    def _try(self) -> None:
        if self._is_trying:
            return
        self._is_trying, self._is_changed = True, False
        self.changed.emit()
