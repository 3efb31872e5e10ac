"""Voxel sizes of a data set: their median, and a warning where they differ."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence

from cytoloop.curation.checks.result import CheckResult, spacings_differ
from cytoloop.errors import join_names
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import format_spacing

log = logging.getLogger(__name__)

_MAX_NAMED = 3
"""Largest number of images that are named for each size."""


def median_spacing(sizes: Sequence[Spacing]) -> Spacing | None:
    """Return the median voxel size (Z, Y, X) along each axis; None without any."""
    if not sizes:
        return None
    z, y, x = (statistics.median(axis) for axis in zip(*sizes, strict=True))
    return (z, y, x)


def warn_of_different_sizes(images: Sequence[CheckResult], where: str) -> None:
    """Warn where voxel sizes differ by more than 2 %, or only some are known.

    A network sees voxels, not um: an object then has several sizes.
    """
    sizes: dict[Spacing, list[str]] = {}
    unknown = []
    for one in images:
        if one.spacing_um is None:
            unknown.append(one.id)
            continue
        axes = len(one.shape or (1, 1, 1))
        same = (size for size in sizes if not spacings_differ(size, one.spacing_um, axes))
        sizes.setdefault(next(same, one.spacing_um), []).append(one.id)
    if len(sizes) + bool(unknown) < 2 or not sizes:
        return
    groups = [
        f"{format_spacing(size)} um: {len(ids)} image(s), {join_names(ids, _MAX_NAMED)}"
        for size, ids in sorted(sizes.items(), key=lambda item: -len(item[1]))
    ]
    if unknown:
        groups.append(f"unknown: {len(unknown)} image(s), {join_names(unknown, _MAX_NAMED)}")
    if len(groups) > _MAX_NAMED:
        groups = [*groups[:_MAX_NAMED], f"and {len(groups) - _MAX_NAMED} more sizes"]
    log.warning(
        "%s: the voxel sizes (z y x) differ: %s. The network sees objects in voxels; train with "
        "data.resample=median to train and predict at one voxel size",
        where,
        "; ".join(groups),
    )
