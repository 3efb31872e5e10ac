"""The image store: each row read once, checked and merged, then memory-mapped.

An entry is keyed by the contents of the row's files and by what was asked of them, so an
edited mask or another channel makes a new entry: nothing stale can be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.digest import file_hash
from cytoloop.errors import ImageError
from cytoloop.images import read_image
from cytoloop.manifest import CHOICE_COLUMNS, FILE_COLUMNS, Row
from cytoloop.regions import separate_pieces
from cytoloop.targets import read_target, row_file

_FORMAT = 1
_POINTS_PER_OBJECT = 32


@dataclass(frozen=True)
class Entry:
    """One image with its target, memory-mapped.

    Attributes
    ----------
    id : str
    image : ndarray
        (C, [Z,] Y, X) in the file's dtype.
    labels : ndarray of unsigned integers
        ([Z,] Y, X), merged.
    valid : ndarray of bool
        ([Z,] Y, X); False = excluded.
    points : ndarray of int
        (N, ndim): some voxels of each object that are not excluded, object after object.
    starts : ndarray of int
        (objects + 1,): object i has ``points[starts[i]:starts[i + 1]]``.
    spacing_um : tuple of float or None
        (Z, Y, X).
    """

    id: str
    image: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    points: np.ndarray
    starts: np.ndarray
    spacing_um: tuple[float, float, float] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) or (Y, X)."""
        return self.labels.shape


class ImageStore:
    """Entries in a folder, made when first asked for.

    Parameters
    ----------
    folder : str or Path
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def entry(self, row: Row, channel: str | None = None) -> Entry:
        """Return the entry of a manifest row, building it if its files are new.

        Parameters
        ----------
        row : Row
        channel : str, optional
            Raw channel where the row names none.

        Raises
        ------
        ImageError, ManifestError
            A file that cannot be read, or that does not fit the raw image.
        """
        folder = self.folder / _key(row, channel)
        if not (folder / "entry.json").is_file():
            self._build(row, channel, folder)
        facts = json.loads((folder / "entry.json").read_text())
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("image", "labels", "valid", "points", "starts")
        }
        spacing = facts["spacing_um"]
        return Entry(id=row.id, spacing_um=tuple(spacing) if spacing else None, **arrays)

    def _build(self, row: Row, channel: str | None, folder: Path) -> None:
        """Write an entry under a temporary name and rename it: readers see it whole or not."""
        image, labels, valid, spacing = read_row(row, channel)
        points, starts = object_points(labels, valid)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".building-"))
        try:
            parts = {
                "image": image,
                "labels": labels,
                "valid": valid,
                "points": points,
                "starts": starts,
            }
            for name, array in parts.items():
                np.save(temporary / f"{name}.npy", np.ascontiguousarray(array))
            facts = {"id": row.id, "raw": str(row.file("raw")), "spacing_um": spacing}
            (temporary / "entry.json").write_text(json.dumps(facts))
            try:
                os.rename(temporary, folder)  # noqa: PTH104 (must fail where the folder exists)
            except OSError:
                if not (folder / "entry.json").is_file():  # else another run was faster
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def read_row(
    row: Row, channel: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float] | None]:
    """Read what a manifest row names.

    Returns
    -------
    image : ndarray
        (C, [Z,] Y, X), own dtype.
    labels : ndarray of unsigned integers
        ([Z,] Y, X): the base segmentation, overwritten by the other one in the merging mask.
    valid : ndarray of bool
        ([Z,] Y, X): False in the excluding mask.
    spacing_um : tuple of float or None

    Raises
    ------
    ImageError
        Unreadable, or of another shape than the raw image.
    ManifestError
        A merging mask without a second segmentation, or an unknown base image.
    """
    wanted = row["channel"] or channel or None
    raw = read_image(row_file(row, "raw"), wanted, row["scene"] or None, row.time)
    labels, valid = read_target(row)
    if labels.shape != raw.data.shape[1:]:
        raise ImageError(
            row.where(row["base_image"] or "seg1"),
            f"shape {labels.shape} but raw is {raw.data.shape[1:]}",
            "Raw and segmentation must be the same picture.",
        )
    return raw.data, labels, valid, row.spacing_um or raw.spacing_um


def object_points(labels: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return some voxels of each object, so that a patch can be centred on one.

    A binary segmentation is split into connected components first: otherwise its one label
    would make large objects likelier than small ones.

    Returns
    -------
    points : ndarray of int32
        (N, ndim), at most 32 an object, none of them excluded.
    starts : ndarray of int64
        (objects + 1,) offsets into `points`.
    """
    counted = separate_pieces(np.where(valid, labels, 0))
    places = np.nonzero(counted)
    codes = counted[places]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(codes))  # so that the first few of an object are a random few
    order = order[np.argsort(codes[order], kind="stable")]
    _, first, count = np.unique(codes[order], return_index=True, return_counts=True)
    taken = [order[f : f + min(n, _POINTS_PER_OBJECT)] for f, n in zip(first, count, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(t) for t in taken])]).astype(np.int64)
    index = np.concatenate(taken) if taken else np.zeros(0, np.int64)
    points = np.stack([axis[index] for axis in places], axis=1).astype(np.int32)
    return points, starts


def _key(row: Row, channel: str | None) -> str:
    """Return the name of a row's entry: a digest of all that its pixels depend on."""
    facts = {column: row[column] for column in CHOICE_COLUMNS}
    facts |= {"default_channel": str(channel), "format": str(_FORMAT)}
    for column in FILE_COLUMNS:
        path = row.file(column)
        if path is not None:
            if not path.exists():
                raise ImageError(row.where(column), f"file not found: {path}", "Curate again.")
            facts[f"{column}_sha256"] = file_hash(path)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
