"""What annotation tools and CytoLoop hand each other: flat pictures with numbered objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """A flat picture to annotate, or as it came back.

    Attributes
    ----------
    name : str
        Without suffix; unique in its project, and fit to be a file name.
    labels : ndarray of uint32
        (Y, X); 0 is background. Numbers of objects are kept by every tool that can keep them:
        the planes of a stack are pictures whose objects go on from plane to plane.
    image : ndarray of uint8 or None
        (Y, X); None where a tool does not hand the picture back.
    done : bool
        A person has said that this picture is finished.
    new : frozenset of int
        Labels that came without a number: drawn anew, and numbered past all others of the
        picture.
    """

    name: str
    labels: np.ndarray
    image: np.ndarray | None = None
    done: bool = False
    new: frozenset[int] = frozenset()
