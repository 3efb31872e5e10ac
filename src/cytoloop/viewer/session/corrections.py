"""Corrected labels of an image: edits with undo, each saved before it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.curation.decisions.drawn import write_drawn
from cytoloop.io.names import safe_name
from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.truth.edits import Edit
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.decide import decide
from cytoloop.viewer.session.history import Action

FOLDER = "corrected"
"""Folder of the data set for corrected labels."""


class Correction:
    """The labels of one image while they are corrected.

    The first edit writes a new file and one line of the decisions log; the segmentations of the
    sources stay as they are. Later edits replace that file.

    Parameters
    ----------
    dataset : Dataset
    row_id : str
    labels : ndarray of uint32
        ([Z,] Y, X): the target to start from. It is changed in place.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X).
    unlabelled : ndarray of bool, optional
        ([Z,] Y, X): voxels with an ignore value. Corrected labels have none, so these become an
        excluding region.
    changed : callable, optional
        Called with this correction whenever its labels are those on disk, from the thread that
        edits.
    """

    def __init__(
        self,
        dataset: Dataset,
        row_id: str,
        labels: np.ndarray,
        spacing_um: Spacing | None = None,
        unlabelled: np.ndarray | None = None,
        changed: Callable[[Correction], None] | None = None,
    ) -> None:
        self.dataset = dataset
        self.row_id = row_id
        self.labels = labels
        self.spacing_um = spacing_um
        self._unlabelled = unlabelled
        self._changed = changed

    @property
    def path(self) -> Path:
        """File of the corrected labels; the data set of the next round has another one."""
        name = f"{safe_name(self.row_id)}_round{self.dataset.round}.ome.tif"
        return self.dataset.folder / FOLDER / name

    def do(self, edit: Edit) -> Action:
        """Apply an edit, save the labels, and return the action.

        Raises
        ------
        OSError, ManifestError
            The labels or the log cannot be written; the labels are as before.
        """
        before = self.dataset.decision(self.row_id)
        edit.apply(self.labels)
        try:
            self.save()
            first = None if before.labels else self._decide()
        except BaseException:
            edit.revert(self.labels)
            raise
        self._report()

        def undo() -> None:
            edit.revert(self.labels)
            if first is None:
                self.save()
            else:
                first.undo()
            self._report()

        def redo() -> None:
            edit.apply(self.labels)
            self.save()
            if first is not None:
                first.redo()
            self._report()

        return Action(self.row_id, edit.text, undo, redo)

    def discard(self) -> Action:
        """Go back to the segmentations of the sources; the corrected file stays on disk."""
        new = replace(self.dataset.decision(self.row_id), labels="")
        action = decide(self.dataset, self.row_id, new, "discard corrections")

        def undo() -> None:
            self.save()  # a later correction may have replaced the file
            action.undo()
            self._report()

        return Action(self.row_id, action.text, undo, action.redo)

    def save(self) -> None:
        """Write the labels; a crash leaves the old file or the new one."""
        labels = self.labels.astype(np.min_scalar_type(int(self.labels.max(initial=0))))
        write_image(self.path, labels, "ZYX"[-labels.ndim :], self.spacing_um)

    def _decide(self) -> Action:
        """Write the decision that the corrected labels replace the segmentations."""
        now = self.dataset.decision(self.row_id)
        exclude = now.exclude
        if self._unlabelled is not None and self._unlabelled.any():
            folder = self.dataset.folder
            mask = self._unlabelled
            exclude += (write_drawn(folder, self.row_id, "unlabelled", mask, self.spacing_um),)
        new = replace(now, labels=str(self.path), exclude=exclude)
        return decide(self.dataset, self.row_id, new, "correct labels")

    def _report(self) -> None:
        if self._changed is not None:
            self._changed(self)
