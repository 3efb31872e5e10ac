"""Stacks that are scored plane by plane: which, and which of their planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cytoloop.manifest import ALL_PLANES, PLANE_WORDS, Row, plane_cell

Rows = Mapping[str, Row]
"""Rows by id."""


def choose_planes(
    predicted: Rows, known: Rows, planes: bool | str | None
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Return predictions and truths whose column ``plane`` says what is scored of a stack.

    Parameters
    ----------
    predicted, known : mapping of str to Row
        Predictions and truths.
    planes : bool, str or None
        True or ``all``: each plane; ``annotated``: each plane with labels in the truth; False: the
        whole stack. None: planes, where the table of predictions says that a stack was predicted
        plane by plane, or where the truths are planes of it.
    """
    stacks = {stack_id(name) for name, row in known.items() if row.plane is not None}

    def of_prediction(name: str, row: Row) -> str:
        if row.plane is not None:
            return row["plane"]
        if planes is not None:
            return ALL_PLANES if plane_cell(planes) else ""
        return ALL_PLANES if row["plane"] in PLANE_WORDS or name in stacks else ""

    def of_truth(name: str, row: Row) -> str:
        if row.plane is not None:
            return row["plane"]
        if planes is not None:
            return plane_cell(planes)
        is_by_plane = name in predicted and predicted[name]["plane"] in PLANE_WORDS
        return row["plane"] or (ALL_PLANES if is_by_plane else "")

    return (
        {name: _with_plane(row, of_prediction(name, row)) for name, row in predicted.items()},
        {name: _with_plane(row, of_truth(name, row)) for name, row in known.items()},
    )


def drop_other_planes(predicted: Rows, known: Rows) -> dict[str, Row]:
    """Return the predictions without planes that nobody annotated, of stacks with truths."""
    stacks = {stack_id(name) for name, row in known.items() if row.plane is not None}
    return {
        name: row
        for name, row in predicted.items()
        if name in known or row.plane is None or stack_id(name) not in stacks
    }


def _with_plane(row: Row, cell: str) -> Row:
    return row if row["plane"] == cell else replace(row, values={**row.values, "plane": cell})


def stack_id(name: str) -> str:
    """Return the id of the stack in the id of a plane.

    >>> stack_id("embryo_z007")
    'embryo'
    """
    return name.rpartition("_z")[0]
