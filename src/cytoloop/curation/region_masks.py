"""The excluding and the merging mask of a row, made from its regions and rules.

A single region file is used as it is. Several regions, or rules, become one mask image in the data
set. Its name contains a hash of its content, so a run that fails changes no mask of an existing
manifest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cytoloop.curation.region_cells import NONE, is_keyword
from cytoloop.io.names import safe_name
from cytoloop.io.remote import local_path
from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Part
from cytoloop.truth.regions import is_rule, read_region, region_from_rule


@dataclass(frozen=True)
class Regions:
    """The regions of a row, in the order in which they were given.

    Attributes
    ----------
    exclude, merge : tuple of str
        Absolute paths, URLs, rules, and ``none``, which clears the regions before it.
    """

    exclude: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()

    def effective(self) -> Regions:
        """Return the regions after the last ``none``, without repetitions."""
        return Regions(_after_none(self.exclude), _after_none(self.merge))

    @property
    def files(self) -> tuple[str, ...]:
        """The paths and URLs among the regions."""
        return tuple(part for part in (*self.exclude, *self.merge) if not is_keyword(part))


@dataclass(frozen=True)
class Masks:
    """The masks of a row; None where nothing is excluded or merged.

    Attributes
    ----------
    exclude, merge : ndarray of bool or None
        ([Z,] Y, X), disjoint unless drawn regions overlap.
    overlap : int
        Voxels that are in drawn regions of both kinds.
    has_unlabelled : bool
        The excluding mask holds voxels with an ignore value.
    """

    exclude: np.ndarray | None = None
    merge: np.ndarray | None = None
    overlap: int = 0
    has_unlabelled: bool = False

    def excluding(self, unlabelled: np.ndarray | None) -> Masks:
        """Return the masks with voxels that nobody labelled excluded too."""
        if unlabelled is None or not unlabelled.any():
            return self
        exclude = unlabelled if self.exclude is None else self.exclude | unlabelled
        return replace(self, exclude=exclude, has_unlabelled=True)


def draw_masks(
    regions: Regions,
    raw: np.ndarray | None,
    labels: np.ndarray | None,
    shape: tuple[int, ...],
    spacing_um: Spacing | None,
    plane: int | None = None,
) -> Masks:
    """Return the masks of regions.

    Voxels that a rule excludes are removed from the merging mask: they have no effect on training.

    Parameters
    ----------
    regions : Regions
        Without ``none``, see `Regions.effective`.
    raw : ndarray or None
        (C, [Z,] Y, X), for rules.
    labels : ndarray or None
        ([Z,] Y, X), for rules.
    shape : tuple of int
        ([Z,] Y, X).
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) in um, for rules.
    plane : int, optional
        Plane of the stack on which the regions were drawn, from 0.

    Raises
    ------
    ImageError, ConfigError
        A region cannot be read, or a rule cannot be applied.
    """
    read = partial(read_region, shape=shape, part=Part(plane=plane))
    drawn = _union((read(local_path(p)) for p in regions.exclude if not is_rule(p)), shape)
    merge = _union((read(local_path(p)) for p in regions.merge), shape)
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


def save_masks(regions: Regions, masks: Masks, row_id: str, folder: Path | None) -> dict[str, str]:
    """Return the file of each mask; masks that are in no file yet are written.

    Parameters
    ----------
    regions : Regions
        Without ``none``, see `Regions.effective`.
    masks : Masks
    row_id : str
        First part of the file names.
    folder : Path or None
        Folder of new mask images; None writes nothing and returns only existing files.

    Returns
    -------
    dict of str to str
        ``exclude_mask`` and ``merge_mask``: absolute paths or URLs, "" where there is no mask.
    """
    files = {"exclude_mask": "", "merge_mask": ""}
    has_rules = any(is_rule(part) for part in regions.exclude)
    is_made = {"exclude": masks.has_unlabelled, "merge": has_rules}
    for kind, parts, mask in (
        ("exclude", regions.exclude, masks.exclude),
        ("merge", regions.merge, masks.merge),
    ):
        if mask is None or not (parts or is_made[kind]):
            continue
        if len(parts) == 1 and not is_made[kind] and not is_rule(parts[0]):
            files[f"{kind}_mask"] = parts[0]
        elif folder is not None and mask.any():
            files[f"{kind}_mask"] = str(_write_mask(mask, kind, row_id, folder))
    return files


def _write_mask(mask: np.ndarray, kind: str, row_id: str, folder: Path) -> Path:
    if mask.ndim == 3 and (mask == mask[:1]).all():
        mask = mask[0]  # the same in all planes: 2D is enough
    digest = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
    path = folder / f"{safe_name(row_id)}_{kind}_{digest[:12]}.ome.tif"
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
