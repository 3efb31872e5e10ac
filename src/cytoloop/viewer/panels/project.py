"""What the panels share: the viewer, the data set, the thread, and where errors are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from cytoloop.viewer.panels.background import Background
from cytoloop.viewer.panels.display import Display, Steps
from cytoloop.viewer.session.dataset import Dataset, open_dataset

_WITH_LAYERS = ("curate", "predict", "compare")
"""Panels that show their layers again when they are in front."""


class Project(QObject):
    """The state that panels share.

    `background` reads and computes. `actions` writes decisions and edits, which then never wait
    for an image to be read. `services` waits for servers. `display` changes layers.

    `front` names the panel that the user looks at, `stage` the one whose layers are shown: "" for
    none, or for layers that are out of date.

    Parameters
    ----------
    viewer : napari.Viewer
    report : callable
        Takes the text of an error.
    """

    dataset_opened = Signal(object)
    """A data set was opened; carries the `Dataset`."""
    model_chosen = Signal(str)
    """A model shall be used for prediction; carries its folder, file or URI."""
    panel_wanted = Signal(str)
    """A panel shall be in front; carries its name."""
    predicted = Signal(str)
    """Images were predicted; carries the path of ``predictions.csv``."""

    def __init__(self, viewer: Any, report: Callable[[str], None]) -> None:
        super().__init__()
        self.viewer = viewer
        self.report = report
        self.background = Background(report, self)
        self.actions = Background(report, self)
        self.services = Background(report, self)
        self.display = Display(report, self)
        self.dataset: Dataset | None = None
        self.front = self.stage = ""

    def close(self) -> None:
        """End the threads after their present work; processes go on."""
        self.background.close()
        self.actions.close()
        self.services.close()
        self.display.close()

    def show(self, panel: str, steps: Steps, then: Callable[[], None] | None = None) -> None:
        """Show the layers of a panel; then call `then`."""
        self.stage = panel
        self.display.show(steps, then)

    def may_show(self, panel: str) -> bool:
        """Return whether a panel may show its layers: none with layers of its own is in front.

        If it may not, it shows them as soon as it is in front.
        """
        if self.front == panel or self.front not in _WITH_LAYERS:
            return True
        if self.stage == panel:
            self.stage = ""
        return False

    def open_dataset(self, folder: str, then: Callable[[], None] | None = None) -> None:
        """Open a data set and tell the panels; then call `then`."""

        def opened(dataset: Dataset) -> None:
            self.dataset = dataset
            self.dataset_opened.emit(dataset)
            if then is not None:
                then()

        self.background.run(lambda: open_dataset(folder), opened)
