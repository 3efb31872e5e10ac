"""Facts: what the files of a manifest row hold, and what is wrong with them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from cytoloop.io.voxel_size import Spacing
from cytoloop.truth.regions import instance_labels

SPACING_TOLERANCE = 0.02
"""Relative difference up to which two voxel sizes are the same (metadata are rounded)."""


class Problem(NamedTuple):
    """A fault of a row: the column it is in; what was found, expected, and the repair."""

    column: str
    text: str


@dataclass(frozen=True)
class Facts:
    """What the files of a row hold.

    Attributes
    ----------
    id : str
    shape : tuple of int or None
        (Z, Y, X) or (Y, X) of the raw image; None where it cannot be read.
    channels : int
        Number of raw channels that the row uses.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X): the row's own, else the raw file's.
    file_spacing_um : tuple of float or None
        What the raw file states.
    objects : int
        Objects of the (merged) segmentation outside the excluding mask; in a binary one its
        connected pieces.
    foreground : float
        Share of object voxels among those that are not excluded, 0 to 1.
    sha256 : dict of str to str
        File column to the hash of its file.
    parts : dict of str to str
        Path to hash of the files that the masks were drawn from.
    masks : dict of str to str
        ``exclude_mask`` and ``merge_mask``: the files that hold what the regions come to.
    figures : dict of str to float
        Quality figures; empty where they were not asked for.
    signature : str
        Thumbnail for finding pictures that are nearly alike.
    pixels : str
        Hash of the raw pixels that the row uses: the same picture saved twice has two file
        hashes (OME-TIFF carries a random id) and one of these.
    problems : tuple of Problem
        Empty for a good row.
    """

    id: str
    shape: tuple[int, ...] | None = None
    channels: int = 0
    spacing_um: Spacing | None = None
    file_spacing_um: Spacing | None = None
    objects: int = 0
    foreground: float = 0.0
    sha256: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    signature: str = ""
    pixels: str = ""
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> str:
        """Return the facts as text, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """Return the facts that `to_json` wrote."""
        values = json.loads(text)
        for name in ("shape", "spacing_um", "file_spacing_um"):
            values[name] = tuple(values[name]) if values[name] is not None else None
        values["problems"] = tuple(Problem(*problem) for problem in values["problems"])
        return cls(**values)


def spacings_differ(one: Spacing, other: Spacing, axes: int) -> bool:
    """Tell whether two voxel sizes (Z, Y, X) differ by over 2 % along one of the last axes."""
    pairs = list(zip(one, other, strict=True))[-axes:]
    return any(abs(a - b) > SPACING_TOLERANCE * max(a, b) for a, b in pairs)


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of an array's shape, dtype and values."""
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.str} ".encode())
    for plane in pixels:  # a channel at a time: a copy is needed where memory is not contiguous
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def count_objects(labels: np.ndarray) -> int:
    """Return the number of labels above 0; of connected pieces where there is one label only."""
    import fastremap

    return int(np.count_nonzero(fastremap.unique(instance_labels(labels))))
