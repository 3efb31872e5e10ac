"""Cells of a row: read from its regions, filled from settings and from check results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.region_cells import NONE, format_regions, parse_regions
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.manifest import FILE_COLUMNS, Row, format_spacing

COLUMNS_FROM_SETTINGS = (
    *("channel", "channel_seg1", "channel_seg2"),
    *("scene", "scene_seg1", "scene_seg2"),
    *("time", "time_seg1", "time_seg2"),
    *("axes", "axes_seg1", "axes_seg2"),
    *("merge_rule", "base_image", "ignore_label"),
)
"""Columns whose empty cells take the setting of the same name."""
_OF_SEGMENTATIONS = (
    *("seg2", "merge_mask", "merge_rule", "channel_seg1", "channel_seg2"),
    *("scene_seg1", "scene_seg2", "time_seg1", "time_seg2"),
)
"""Columns that describe the segmentations of the sources, not one that was made from them."""


def replace_segmentation(row: Row, path: str) -> dict[str, str]:
    """Make one label image the only segmentation of a row; return the cells that it replaces.

    ``dataset.json`` records these cells, so that a later round starts from the sources again.

    Parameters
    ----------
    row : Row
        With absolute paths. It is changed.
    path : str
        Absolute path or URL of the labels.
    """
    columns = ("seg1", "merge", "base_image", "ignore_label", "axes_seg1", *_OF_SEGMENTATIONS)
    replaced = {column: row[column] for column in columns}
    row.values |= dict.fromkeys(("ignore_label", "axes_seg1", *_OF_SEGMENTATIONS), "")
    row.values |= {"seg1": path, "base_image": "seg1", "merge": ""}
    return replaced


def fill_from_settings(
    row: Row, settings: CurationSettings, previous: Mapping[str, Any] | None = None
) -> None:
    """Fill empty cells with the settings of the same names.

    Parameters
    ----------
    row : Row
    settings : CurationSettings
    previous : mapping, optional
        Recorded settings of the previous round. A cell with such a value takes the new setting.
    """
    old_settings = dict(previous or {})
    for column in (*COLUMNS_FROM_SETTINGS, "spacing_um"):
        value = getattr(settings, column)
        if value is None:
            continue
        as_text = format_spacing if column == "spacing_um" else _text
        old = old_settings.get(column)
        if not row[column] or (old is not None and row[column] == as_text(old)):
            row.values[column] = as_text(value)
    row.values["base_image"] = row["base_image"] or "seg1"


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def fill_from_check(row: Row, result: CheckResult, stated: Regions, final: Regions) -> None:
    """Fill voxel size, hash, masks and regions of a row that was checked.

    Parameters
    ----------
    row : Row
    result : CheckResult
    stated : Regions
        Regions that the sources name.
    final : Regions
        Regions after settings and decisions.
    """
    row.values["spacing_um"] = row["spacing_um"] or format_spacing(result.spacing_um)
    row.values["sha256"] = result.sha256.get("raw", "")
    row.values["warnings"] = "; ".join(result.warnings)
    row.values |= result.masks
    row.values |= _region_columns(stated.effective(), final.effective(), result.masks)


def regions_of_row(row: Row) -> Regions:
    """Return the regions that the cells of a row name.

    They are in ``exclude`` and ``merge``. Where these are empty, the masks are the regions.
    """
    found = {}
    for kind in ("exclude", "merge"):
        mask = row.location(f"{kind}_mask")
        found[kind] = parse_regions(row[kind], row.root) or ((mask,) if mask else ())
    return Regions(**found)


def with_absolute_paths(row: Row) -> Row:
    """Return a row with its id filled in and paths that do not depend on its folder."""
    files = {column: row.location(column) for column in FILE_COLUMNS}
    regions = {
        kind: format_regions(parse_regions(row[kind], row.root)) for kind in ("exclude", "merge")
    }
    return replace(row, values={**row.values, **files, **regions, "id": row.id})


def _region_columns(stated: Regions, final: Regions, masks: dict[str, str]) -> dict[str, str]:
    """Return the cells ``exclude`` and ``merge``.

    A cell is empty where the mask alone shows what the sources name. Otherwise it holds the regions
    of the sources, so that a later round can apply the decisions again. Ignore values are no region
    of the sources: a later round finds them in the segmentation.
    """
    cells = {}
    for kind in ("exclude", "merge"):
        in_sources, in_mask = getattr(stated, kind), getattr(final, kind)
        mask = masks.get(f"{kind}_mask", "")
        is_mask = in_sources == in_mask and in_sources == (mask,)
        is_empty = not in_sources and not in_mask and not mask
        cells[kind] = "" if is_mask or is_empty else format_regions(in_sources) or NONE
    return cells
