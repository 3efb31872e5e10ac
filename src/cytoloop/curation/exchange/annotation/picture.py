"""The picture that CytoLoop exchanges with annotation tools: one plane with numbered objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """One plane of an image with its labels, for an annotation tool or from one.

    Attributes
    ----------
    name : str
        File name without suffix, unique in its project.
    labels : ndarray of uint32
        (Y, X); 0 is background. An object has the same number in all planes of a stack. Every
        format keeps these numbers.
    image : ndarray of uint8 or None
        (Y, X); None if the picture was read from a tool, because images are not read back.
    done : bool
        A person has marked the picture as finished.
    new_labels : frozenset of int
        Labels of objects that had no number, because they were added in the tool. They are
        numbered after the largest number of the picture.
    """

    name: str
    labels: np.ndarray
    image: np.ndarray | None = None
    done: bool = False
    new_labels: frozenset[int] = frozenset()
