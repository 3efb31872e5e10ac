"""The rows of a round: from paired files, a table, or a Segmenter ML experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.curation.exchange.registry import DATASET_FORMATS, find_format
from cytoloop.curation.pairing.pairs import match_images
from cytoloop.curation.pairing.series import expand_series
from cytoloop.curation.pairing.unmatched import Unmatched, refuse_unmatched
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.row_cells import fill_from_settings, regions_of_row, with_absolute_paths
from cytoloop.curation.settings import CurationSettings
from cytoloop.errors import ConfigError, ManifestError, join_names
from cytoloop.io.file_keys import compile_pattern, find_part
from cytoloop.manifest import Row, absolute_path, plane_cell, read_manifest

_MAX_LISTED = 20
_REQUIRED = ("raw", "seg1")
_STATUSES = {"": "", "keep": "keep", "reject": "reject", "rejected": "reject", "undecided": ""}
"""A table's status in lower case, to the status here."""


@dataclass
class Sources:
    """The rows to curate.

    Attributes
    ----------
    rows : list of Row
        Sorted by id, with absolute paths, ids and groups filled in.
    regions : dict of str to Regions
        Row id to the regions that the sources name.
    unmatched : list of Unmatched
        Files that are in no row. Always empty with ``on_problem="refuse"``.
    """

    rows: list[Row]
    regions: dict[str, Regions]
    unmatched: list[Unmatched] = field(default_factory=list)


def read_sources(settings: CurationSettings) -> Sources:
    """Return the rows that the sources of this round name.

    Cells of a table are kept; settings fill its empty cells.

    Raises
    ------
    ConfigError, ManifestError
        Sources that cannot be paired or read, duplicate ids, rows without a group.
    """
    unmatched: list[Unmatched] = []
    if settings.raw is None:
        rows: list[Row] = []
    elif settings.from_table:
        rows = _rows_of_table(str(settings.raw))
    else:
        rows, unmatched = _rows_of_pairs(settings)
    for row in rows:
        fill_from_settings(row, settings)
        row.values["plane"] = row["plane"] or plane_cell(settings.planes)
        row.values["sha256"] = ""  # filled by the checks; an old hash would be a problem
    _normalize_status(rows, str(settings.raw))
    rows = expand_series(rows, str(settings.raw))
    _refuse_duplicate_ids(rows, str(settings.raw))
    _fill_groups(rows, settings)
    rows.sort(key=lambda row: row.id)
    return Sources(rows, {row.id: regions_of_row(row) for row in rows}, unmatched)


def _rows_of_pairs(settings: CurationSettings) -> tuple[list[Row], list[Unmatched]]:
    pairs, unmatched = match_images(settings.sources, settings.key)
    if settings.on_problem == "refuse" or not pairs:
        refuse_unmatched(unmatched, settings.sources)
    rows = []
    for number, pair in enumerate(pairs, start=1):
        files = {
            "raw": pair.raw,
            "seg1": pair.seg1,
            "seg2": pair.seg2,
            "merge_mask": pair.merge,
            "exclude_mask": pair.exclude,
        }
        values = {column: str(path) for column, path in files.items() if path is not None}
        rows.append(Row({**values, "id": pair.id}, Path(), number))
    return rows, unmatched


def _rows_of_table(path: str) -> list[Row]:
    folder = absolute_path(path)
    found = find_format(DATASET_FORMATS, folder)
    rows = found.read(folder) if found else read_manifest(path, _REQUIRED)
    return [with_absolute_paths(row) for row in rows]


def _normalize_status(rows: Sequence[Row], where: str) -> None:
    wrong = [
        f"{row.where('status')}: {row['status']!r}; expected keep, reject or nothing"
        for row in rows
        if row["status"].lower() not in _STATUSES
    ]
    if wrong:
        raise ManifestError(where, wrong, "Correct these cells.")
    for row in rows:
        row.values["status"] = _STATUSES[row["status"].lower()]


def _refuse_duplicate_ids(rows: Sequence[Row], where: str) -> None:
    numbers: dict[str, list[str]] = {}
    for row in rows:
        numbers.setdefault(row.id, []).append(str(row.number))
    duplicates = [
        f"rows {', '.join(found)} have the same id {row_id!r}"
        for row_id, found in numbers.items()
        if len(found) > 1
    ]
    if duplicates:
        raise ManifestError(where, duplicates, "Give each row its own name in a column `id`.")


def _fill_groups(rows: Sequence[Row], settings: CurationSettings) -> None:
    """Fill the group of each row: by the setting, else from the table, else the row's id."""
    if not settings.group or not rows:
        for row in rows:
            row.values["group"] = row["group"] or row.id
        return
    where = f"group={settings.group!r}"
    groups = _groups_by_setting(rows, settings.group, settings.from_table)
    without = [row.id for row, group in zip(rows, groups, strict=True) if not group]
    if without:
        raise ManifestError(
            where,
            f"no group found for {join_names(without, _MAX_LISTED)}",
            "Every image needs a group: widen the pattern, or leave these images out.",
        )
    for row, group in zip(rows, groups, strict=True):
        row.values["group"] = group


def _groups_by_setting(rows: Sequence[Row], setting: str, from_table: bool) -> list[str]:
    """Return the group of each row by a pattern or a column, "" where there is none."""
    if "(" in setting:
        pattern = compile_pattern(setting, "group", "group")
        return [
            find_part(pattern, "group", row["raw"]) or find_part(pattern, "group", row.id)
            for row in rows
        ]
    columns = sorted({name for row in rows for name, value in row.values.items() if value})
    if from_table and setting in columns:
        return [row[setting] for row in rows]
    raise ConfigError(
        f"group={setting!r}",
        f"is not a pattern with (?P<group>...) and not a column (columns: {', '.join(columns)})"
        if from_table
        else "is not a pattern with a part named (?P<group>...)",
        r"Example: group='(?P<group>Emb\d+)'.",
    )
