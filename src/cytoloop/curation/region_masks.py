"""The masks of a row: what several drawn regions and rules come to.

One drawn region that is a file stays that file. Several, or rules, become one mask image in the
data set, named after its content: a run that is refused, or that crashes, has changed no mask of
the manifest that is there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytoloop.curation.region_cells import NONE, is_word
from cytoloop.io.names import safe_name
from cytoloop.io.remote import local_path
from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.truth.regions import is_rule, read_region, region_from_rule

FOLDER = "regions"


@dataclass(frozen=True)
class Regions:
    """What a row's masks are made from, in the order in which it was said.

    Attributes
    ----------
    exclude, merge : tuple of str
        Absolute paths, URLs, rules, and ``none``, which clears what comes before it.
    """

    exclude: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()

    def effective(self) -> Regions:
        """Return the regions after the last ``none``, each once."""
        return Regions(_after_none(self.exclude), _after_none(self.merge))

    @property
    def files(self) -> tuple[str, ...]:
        """The paths among the regions."""
        return tuple(part for part in (*self.exclude, *self.merge) if not is_word(part))


@dataclass(frozen=True)
class Masks:
    """The masks of a row; None where nothing is excluded or merged.

    Attributes
    ----------
    exclude, merge : ndarray of bool or None
        ([Z,] Y, X), disjoint unless regions that were drawn overlap.
    overlap : int
        Voxels that are in drawn regions of both kinds.
    """

    exclude: np.ndarray | None = None
    merge: np.ndarray | None = None
    overlap: int = 0


def draw_masks(
    regions: Regions,
    raw: np.ndarray | None,
    labels: np.ndarray | None,
    shape: tuple[int, ...],
    spacing_um: Spacing | None,
) -> Masks:
    """Return what regions come to.

    Where a rule excludes a voxel, nothing is merged: it would count for nothing.

    Parameters
    ----------
    regions : Regions
        Effective ones.
    raw : ndarray or None
        (C, [Z,] Y, X), for rules.
    labels : ndarray or None
        ([Z,] Y, X), for rules.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None

    Raises
    ------
    ImageError, ConfigError
        A region that cannot be read, or a rule that cannot be applied.
    """
    drawn = _union(
        (read_region(local_path(p), shape) for p in regions.exclude if not is_rule(p)), shape
    )
    merge = _union((read_region(local_path(p), shape) for p in regions.merge), shape)
    overlap = int(np.count_nonzero(drawn & merge)) if drawn is not None and merge is not None else 0
    ruled = None
    if raw is not None and labels is not None:
        rules = [part for part in regions.exclude if is_rule(part)]
        ruled = _union((region_from_rule(r, raw, labels, spacing_um) for r in rules), shape)
    exclude = drawn
    if ruled is not None:
        exclude = ruled if drawn is None else drawn | ruled
        merge = None if merge is None else merge & ~ruled
    return Masks(exclude, merge, overlap)


def keep_masks(regions: Regions, masks: Masks, name: str, folder: Path | None) -> dict[str, str]:
    """Return the file of each mask, writing those that no file holds already.

    Parameters
    ----------
    regions : Regions
        Effective ones.
    masks : Masks
    name : str
        Id of the row, for the names of files.
    folder : Path or None
        Where masks are written; None: nowhere, only drawn files are returned.

    Returns
    -------
    dict of str to str
        ``exclude_mask`` and ``merge_mask``, absolute paths or URLs; "" where there is none.
    """
    found = {"exclude_mask": "", "merge_mask": ""}
    ruled = any(is_rule(part) for part in regions.exclude)
    for kind, parts, mask in (
        ("exclude", regions.exclude, masks.exclude),
        ("merge", regions.merge, masks.merge),
    ):
        if mask is None or not parts:
            continue
        if len(parts) == 1 and not (ruled and kind == "merge") and not is_rule(parts[0]):
            found[f"{kind}_mask"] = parts[0]
        elif folder is not None and mask.any():
            found[f"{kind}_mask"] = str(_write_mask(mask, kind, name, folder))
    return found


def _write_mask(mask: np.ndarray, kind: str, name: str, folder: Path) -> Path:
    if mask.ndim == 3 and (mask == mask[:1]).all():
        mask = mask[0]  # one region through all z
    digest = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
    path = folder / f"{safe_name(name)}_{kind}_{digest[:12]}.ome.tif"
    if not path.is_file():
        write_image(path, mask, "ZYX"[-mask.ndim :])
    return Path(os.path.abspath(path))


def _after_none(parts: Sequence[str]) -> tuple[str, ...]:
    words = [part.lower() for part in parts]
    start = len(words) - words[::-1].index(NONE) if NONE in words else 0
    return tuple(dict.fromkeys(parts[start:]))


def _union(masks: Iterable[np.ndarray], shape: tuple[int, ...]) -> np.ndarray | None:
    whole: np.ndarray | None = None
    for mask in masks:
        whole = mask.copy() if whole is None else whole | mask
    return None if whole is None else np.broadcast_to(whole, shape)
