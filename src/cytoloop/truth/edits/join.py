"""Edits that give objects another number: merge and delete."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cytoloop.errors import ConfigError, join_names
from cytoloop.truth.edits.edit import Edit, box_of, edit_of, require_objects


def merge_objects(labels: np.ndarray, numbers: Iterable[int]) -> Edit:
    """Return the edit that makes several objects one; it has the first number.

    Raises
    ------
    ConfigError
        Fewer than two objects.
    """
    wanted = require_objects("merge", labels, numbers)
    if len(wanted) < 2:
        raise ConfigError(
            "merge", f"only object {wanted[0]} was chosen", "Click on two or more objects."
        )
    mask = np.isin(labels, wanted)
    box = box_of(mask)
    after = np.where(mask[box], labels.dtype.type(wanted[0]), labels[box])
    return edit_of(f"merge objects {join_names(map(str, wanted))}", labels, box, after)


def delete_objects(labels: np.ndarray, numbers: Iterable[int]) -> Edit:
    """Return the edit that makes objects background.

    Raises
    ------
    ConfigError
        No object.
    """
    wanted = require_objects("delete", labels, numbers)
    mask = np.isin(labels, wanted)
    box = box_of(mask)
    after = np.where(mask[box], labels.dtype.type(0), labels[box])
    return edit_of(f"delete object {join_names(map(str, wanted))}", labels, box, after)
