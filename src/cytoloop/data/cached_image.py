"""An entry of the image store: one image with its target, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.data.target_maps import MAKERS, known_labels
from cytoloop.intensity.normalization import intensity_statistics
from cytoloop.io.atomic import replacing
from cytoloop.truth.regions import instance_labels

FACTS = "entry.json"
"""The file that makes a folder an entry; it is written last."""

_MAPS = 2
"""Counts up where `cytoloop.data.target_maps` makes other maps: kept ones are made anew then."""

OPTIONAL = ("valid", "places")
"""Arrays that an entry without excluded voxels does not have."""


@dataclass(frozen=True)
class CachedImage:
    """One image with its target.

    Attributes
    ----------
    id : str
    image : ndarray
        (C, [Z,] Y, X) in the file's dtype.
    labels : ndarray of unsigned integers
        ([Z,] Y, X), merged, of the smallest type that holds them.
    valid : ndarray of bool
        ([Z,] Y, X); False = excluded.
    points : ndarray of int32
        (N, ndim): some voxels of each object that are not excluded, object after object.
    starts : ndarray of int64
        (objects + 1,): object i has ``points[starts[i]:starts[i + 1]]``.
    places : ndarray of int32 or None
        (N, ndim): random voxels that are not excluded; None where no voxel is.
    spacing_um : tuple of float or None
        (Z, Y, X).
    folder : Path or None
        Where it is kept.
    classes : bool
        The labels are classes; `points` are those of a class, not of an object.
    """

    id: str
    image: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    points: np.ndarray
    starts: np.ndarray
    places: np.ndarray | None = None
    spacing_um: tuple[float, float, float] | None = None
    folder: Path | None = None
    classes: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) or (Y, X)."""
        return self.labels.shape

    def intensity_stats(self, rule: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the offset and scale that a normalisation gives each channel.

        They are kept beside the image: the next run with the same rule does not read it all.

        Parameters
        ----------
        rule : mapping
            See `cytoloop.intensity.normalization.intensity_statistics`.

        Returns
        -------
        offset, scale : ndarray of float32
            (C,).
        """
        if self.folder is None:
            return intensity_statistics(self.image, rule)
        name = hashlib.sha256(json.dumps(dict(rule), sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / f"levels_{name}.json"
        if not path.is_file():
            found = intensity_statistics(self.image, rule)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps([one.tolist() for one in found]))
        offset, scale = json.loads(path.read_text())
        return np.asarray(offset, np.float32), np.asarray(scale, np.float32)

    def map(self, name: str) -> np.ndarray:
        """Return what a head learns, made from the labels once and kept beside them.

        Parameters
        ----------
        name : str
            One of `cytoloop.data.target_maps.MAKERS`.

        Returns
        -------
        ndarray of uint8
            ([Z,] Y, X), 0..255 for 0..1; memory-mapped where the entry is on disk.
        """
        path = None if self.folder is None else self.folder / f"{name}_{_MAPS}.npy"
        if path is None or not path.is_file():
            # of a mask each piece is an object
            objects = instance_labels(known_labels(self.labels, self.valid, self.spacing_um))
            made = MAKERS[name](objects, self.spacing_um)
            if path is None:
                return made
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, made)
        return np.load(path, mmap_mode="r")


def write_entry(
    folder: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray | None]
) -> None:
    """Write an entry's arrays and facts into an existing folder."""
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
    (folder / FACTS).write_text(json.dumps(dict(facts)))


def open_entry(folder: Path, name: str) -> CachedImage:
    """Return an entry, memory-mapped.

    Parameters
    ----------
    folder : Path
    name : str
        The id of the row.
    """
    facts = json.loads((folder / FACTS).read_text())

    def array(part: str) -> np.ndarray:
        return np.load(folder / f"{part}.npy", mmap_mode="r")

    labels = array("labels")
    partly = all((folder / f"{part}.npy").is_file() for part in OPTIONAL)
    spacing = facts["spacing_um"]
    return CachedImage(
        id=name,
        image=array("image"),
        labels=labels,
        valid=array("valid") if partly else np.broadcast_to(np.True_, labels.shape),
        points=np.asarray(array("points")),
        starts=np.asarray(array("starts")),
        places=np.asarray(array("places")) if partly else None,
        spacing_um=tuple(spacing) if spacing else None,
        folder=folder,
        classes=bool(facts.get("classes")),
    )


def measure_entry(folder: Path) -> int:
    """Return the bytes of an entry's files; 0 where it was just removed."""
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:
        return 0
