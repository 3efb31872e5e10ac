"""The line of a decisions log that leads from one decision to another."""

from __future__ import annotations

from pathlib import Path

from cytoloop.curation.decisions.latest import Decision
from cytoloop.curation.region_cells import (
    NONE,
    SOURCES,
    format_regions,
    format_relative_regions,
)


def changed_cells(now: Decision, target: Decision, folder: Path | None = None) -> dict[str, str]:
    """Return the cells of a line that leads from one decision to another; {} if both are equal.

    Parameters
    ----------
    now, target : Decision
    folder : Path, optional
        Folder that paths start from. None: absolute paths.
    """

    def cell(parts: tuple[str, ...]) -> str:
        if folder is None:
            return format_regions(parts)
        return format_relative_regions(parts, folder)

    cells: dict[str, str] = {}
    about = (now.decision, now.reason, now.curator)
    if about != (target.decision, target.reason, target.curator):
        cells |= {"reason": target.reason, "curator": target.curator}
        cells["decision"] = target.decision
    if now.base_image != target.base_image:
        cells["base_image"] = target.base_image or NONE
    for kind in ("exclude", "merge"):
        if getattr(now, kind) != getattr(target, kind):
            # exactly these regions count, beside those of the sources
            cells[kind] = cell(getattr(target, kind) or (SOURCES,))
    if now.labels != target.labels:
        cells["labels"] = cell((target.labels or NONE,))
    return cells
