"""Decisions of a curator: each is one line of the decisions log, and one more line undoes it."""

from __future__ import annotations

from dataclasses import replace

from cytoloop.curation import append_decision
from cytoloop.curation.decisions.changes import changed_cells
from cytoloop.curation.decisions.latest import Decision
from cytoloop.viewer.session.dataset import Dataset
from cytoloop.viewer.session.history import Action


def decide(dataset: Dataset, row_id: str, new: Decision, text: str) -> Action:
    """Write a decision to the log and return the action.

    Parameters
    ----------
    dataset : Dataset
        Its decisions are updated.
    row_id : str
    new : Decision
        The whole new decision; what is equal to the present one is not written.
    text : str
        What was done.

    Raises
    ------
    ManifestError, OSError
        The log cannot be written. Nothing has changed.
    """
    before = dataset.decision(row_id)

    def go_to(target: Decision) -> None:
        now = dataset.decision(row_id)
        cells = changed_cells(now, target, dataset.folder)
        if cells:
            append_decision(dataset.log, {"id": row_id, **cells})
        dataset.decisions[row_id] = target

    go_to(new)
    return Action(row_id, text, lambda: go_to(before), lambda: go_to(new))


def keep_or_reject(
    dataset: Dataset, row_id: str, decision: str, reason: str = "", curator: str = ""
) -> Action:
    """Decide on an image: ``keep``, ``reject`` or ``undecided``."""
    now = dataset.decision(row_id)
    new = replace(now, decision=decision, reason=reason, curator=curator)
    return decide(dataset, row_id, new, f"{decision} {row_id}")


def choose_base(dataset: Dataset, row_id: str, base: str, curator: str = "") -> Action:
    """Choose the segmentation outside merging regions: ``seg1`` or ``seg2``."""
    new = replace(dataset.decision(row_id), base_image=base)
    if new.decision == "undecided":
        new = replace(new, curator=curator)
    return decide(dataset, row_id, new, f"base image {base}")
