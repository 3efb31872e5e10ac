"""The image of the queue that is shown: its loading, its layers, actions with undo and redo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import Signal

from cytoloop.errors import ConfigError
from cytoloop.manifest import Row
from cytoloop.truth.edits import Edit
from cytoloop.viewer.panels import layers, views
from cytoloop.viewer.panels.background import Background
from cytoloop.viewer.panels.project import Project
from cytoloop.viewer.session.corrections import Correction
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.history import Action, History
from cytoloop.viewer.session.images import (
    ImageCache,
    ImageState,
    LoadedImage,
    image_state,
    load_image,
    read_depth,
)


class CurrentImage(Background):
    """The shown image. As a `Background` it has a thread for reading; actions have another one.

    Parameters
    ----------
    project : Project
    """

    shown = Signal()
    """Layers were changed to another image or another state."""
    acted = Signal(str)
    """An action was done, undone or done again; carries what it was."""

    def __init__(self, project: Project) -> None:
        super().__init__(project.report, project)
        self.project = project
        self.history = History()
        self.id = self._shown_id = ""
        self.image: LoadedImage | None = None
        self.state: ImageState | None = None
        self.predictions: dict[str, Row] = {}
        self._corrections: dict[str, Correction] = {}
        self._cache: ImageCache | None = None

    @property
    def dataset(self) -> Dataset:
        """The data set.

        Raises
        ------
        ConfigError
            None is open.
        """
        if self.project.dataset is None:
            raise ConfigError(
                "curate", "no data set is open", "Open or make one in the panel Data."
            )
        return self.project.dataset

    @property
    def plane(self) -> int:
        """The visible slice, 0 in a 2D image."""
        return layers.visible_plane(self.project.viewer)

    @property
    def _is_reading(self) -> bool:
        """Whether the image that was chosen is not shown yet: actions would meet another one."""
        return self.id != self._shown_id

    def start(self) -> None:
        """Begin with a data set that was just opened."""
        if self._cache is not None:
            self._cache.close()
        self.history = History()
        self._corrections = {}
        self.id, self._shown_id, self.image, self.state = "", "", None, None
        self._cache = ImageCache(self._load)

    def set_predictions(self, rows: dict[str, Row]) -> None:
        """Show other predictions with the images."""
        self.predictions = rows
        if self._cache is not None:
            self._cache.forget()
        is_shown = self.project.stage in ("", "curate")
        if self.id and is_shown and self.project.may_show("curate"):
            self.open(self.id)

    def open(self, row_id: str, ahead: str = "") -> None:
        """Show an image, and read the one that probably comes next."""
        cache = self._cache
        if cache is None:
            return
        self.id = row_id

        def read() -> tuple[LoadedImage, ImageState] | None:
            if row_id != self.id:  # the user has gone on
                return None
            image = cache.request(row_id).result()
            state = self._state(image)
            if ahead:
                cache.prefetch(ahead)
            return image, state

        def show(found: tuple[LoadedImage, ImageState] | None) -> None:
            if found is not None and row_id == self.id:
                self._show(row_id, *found)

        self.run(read, show, lambda text: self._failed(row_id, text))

    def show_again(self) -> None:
        """Show the image, if another panel has replaced its layers."""
        if self.id and self.project.stage != "curate" and not self.is_busy:
            self.open(self.id)

    def is_in_view(self) -> bool:
        """Return whether actions meet the image that the user sees; say so if they do not."""
        if self.project.stage in ("", "curate"):
            if not self._is_reading:
                return True
            if not self.is_busy and not self.project.display.is_busy:
                self.open(self.id)  # another panel was in front when it had been read
            self.project.report(f"Nothing was done: {self.id} is still being read.")
            return False
        self.project.panel_wanted.emit("curate")
        self.show_again()
        self.project.report(
            "Nothing was done: the image of another panel was shown. "
            f"Look at {self.id}, then repeat."
        )
        return False

    def do(self, make: Callable[[], Action]) -> None:
        """Do an action in the thread of actions, and show what it changed."""
        if not self.is_in_view():
            return

        def work() -> str:
            action = make()
            self.history.add(action)
            return action.text

        self.project.actions.run(work, self._acted)

    def undo(self) -> None:
        """Undo the last action."""
        self.project.actions.run(self.history.undo, lambda a: self._moved(a, "undone"))

    def redo(self) -> None:
        """Do the last undone action again."""
        self.project.actions.run(self.history.redo, lambda a: self._moved(a, "done again"))

    def edit(self, make: Callable[[Correction], Edit]) -> None:
        """Edit the labels of the shown image."""
        correction = self.correction()
        self.do(lambda: correction.do(make(correction)))

    def correction(self) -> Correction:
        """Return the correction of the shown image; a new one starts from its target.

        Raises
        ------
        ConfigError
            No image is shown.
        """
        if self.image is None or self.state is None:
            raise ConfigError("correct", "no image is shown", "Choose an image of the queue.")
        if self._is_reading:
            raise ConfigError(self.id, "it is still being read", "Wait until it is shown.")
        target = self.state.target
        if not isinstance(target, np.ndarray):
            raise ConfigError(
                self.id,
                f"its {self.image.raw[0].nbytes / 2**30:.1f} GiB stay on disk; objects can be "
                "corrected in smaller images",
                "Cut crops of it and correct these: cytoloop annotate.",
            )
        known = self._corrections.get(self.id)
        if known is None or known.labels is not target:
            row = self.dataset.entry(self.id).row
            base = self.dataset.decision(self.id).base_image or row["base_image"] or "seg1"
            labelled = self.image.labelled.get(base)
            known = Correction(
                self.dataset,
                self.id,
                target,
                self.image.spacing_um,
                None if labelled is None else ~labelled,
                self._corrected,
            )
            self._corrections[self.id] = known
        return known

    def depth(self) -> np.ndarray | None:
        """Return the distance map of the model, None where there is none; reads a file."""
        row = self.predictions.get(self.id)
        found = None if row is None else read_depth(row)
        fits = found is not None and self.image is not None and found.shape == self.image.shape
        return found if fits else None

    def close(self) -> None:
        """End the threads."""
        if self._cache is not None:
            self._cache.close()
        super().close()

    def _load(self, row_id: str) -> LoadedImage:
        return load_image(self.dataset.entry(row_id), self.predictions.get(row_id))

    def _state(self, image: LoadedImage) -> ImageState:
        """Return the state of an image; its target is the array of the correction, if any."""
        decision = self.dataset.decision(image.id)
        state = image_state(image, self.dataset.entry(image.id).row, decision, self.dataset)
        known = self._corrections.get(image.id)
        if known is None or not decision.labels:
            return state
        return ImageState(known.labels, state.excluded, state.merged)

    def _corrected(self, correction: Correction) -> None:
        self._corrections[correction.row_id] = correction

    def _show(self, row_id: str, image: LoadedImage, state: ImageState) -> None:
        if not self.project.may_show("curate"):
            return
        viewer = self.project.viewer
        if self.image is None or self.image.id != row_id:
            layers.remove_drawing_layers(viewer)

        def shown() -> None:
            if row_id == self.id:  # or the user has gone on
                self.image, self.state, self._shown_id = image, state, row_id
                self.shown.emit()

        self.project.show("curate", views.show_image(viewer, image, state), shown)

    def _failed(self, row_id: str, text: str) -> None:
        if row_id != self.id:  # the user has gone on
            return
        self.image, self.state, self._shown_id = None, None, row_id
        self.project.report(f"{row_id} cannot be shown. {text}")
        self.shown.emit()

    def _acted(self, text: str) -> None:
        self.refresh()
        self.acted.emit(text)

    def _moved(self, action: Action | None, word: str) -> None:
        if action is None:
            self.acted.emit("nothing is left to undo" if word == "undone" else "nothing to redo")
            return
        if action.image != self.id or self.project.stage != "curate":
            self.project.panel_wanted.emit("curate")
            self.open(action.image)
        else:
            self.refresh()
        self.acted.emit(f"{word}: {action.text}")

    def refresh(self) -> None:
        """Show the present decisions on the shown image."""
        image = self.image
        if image is None:
            return

        def show(state: ImageState) -> None:
            if self.image is not image or self._is_reading:
                return
            self.state = state
            if self.project.stage != "curate":
                return
            viewer = self.project.viewer
            place = layers.place_of(image.spacing_um, len(image.shape))
            self.project.display.add(views.show_state(viewer, state, place), shown)

        def shown() -> None:
            target = layers.find_layer(self.project.viewer, layers.TARGET)
            if target is not None:
                target.refresh()
            self.shown.emit()

        self.run(lambda: self._state(image), show)
