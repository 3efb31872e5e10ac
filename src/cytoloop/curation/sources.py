"""Sources: the rows of a curation, from paired files, a table or the earlier round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cytoloop.curation.exchange.registry import DATASET_FORMATS, find_format
from cytoloop.curation.pairing.keys import compile_pattern, find_part
from cytoloop.curation.pairing.pairs import Unmatched, match_images, refuse_unmatched
from cytoloop.curation.pairing.series import expand
from cytoloop.curation.region_cells import join_parts, split_parts
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import Settings
from cytoloop.errors import ConfigError, ManifestError, listed
from cytoloop.manifest import FILE_COLUMNS, Row, format_spacing, read_manifest

FILLED = (
    "channel",
    "channel_seg1",
    "channel_seg2",
    "scene",
    "scene_seg1",
    "scene_seg2",
    "time",
    "time_seg1",
    "time_seg2",
    "merge_rule",
    "base_image",
)
"""Cells that settings of the same name fill where they are empty."""

_LISTED = 20


@dataclass
class Sources:
    """What is to be curated.

    Attributes
    ----------
    rows : list of Row
        Sorted by id, with absolute paths, ids and groups filled in.
    regions : dict of str to Regions
        By id: what the sources say of masks.
    unmatched : list of Unmatched
        Files that are in no row; empty unless bad input is to be left out.
    """

    rows: list[Row]
    regions: dict[str, Regions]
    unmatched: list[Unmatched] = field(default_factory=list)


def read_sources(settings: Settings) -> Sources:
    """Return what the sources of this round hold.

    Rows of a table keep their cells; settings fill the empty ones.

    Raises
    ------
    ConfigError, ManifestError
        Sources that cannot be paired or read, ids that are not unique, groups not found.
    """
    unmatched: list[Unmatched] = []
    if settings.raw is None:
        rows: list[Row] = []
    elif settings.from_table:
        rows = _rows_of_table(settings)
    else:
        rows, unmatched = _rows_of_pairs(settings)
    for row in rows:
        fill_cells(row, settings)
        # the file of today is hashed anew; an old hash would call it changed
        row.values["sha256"] = ""
    _check_statuses(rows, str(settings.raw))
    rows = expand(rows, str(settings.raw))
    _refuse_doubles(rows, str(settings.raw))
    _fill_groups(rows, settings)
    rows.sort(key=lambda row: row.id)
    return Sources(rows, {row.id: stated_regions(row) for row in rows}, unmatched)


def fill_cells(row: Row, settings: Settings, before: Mapping[str, Any] | None = None) -> None:
    """Fill empty cells from settings of the same name.

    Parameters
    ----------
    row : Row
    settings : Settings
    before : mapping, optional
        Settings of an earlier round: cells that they filled are filled anew where there is a
        setting now.
    """
    earlier = dict(before or {})
    for column in (*FILLED, "spacing_um"):
        value = getattr(settings, column)
        if value is None:
            continue
        old = earlier.get(column)
        filled = format_spacing(old) if column == "spacing_um" else str(old)
        if not row[column] or (old is not None and row[column] == filled):
            text = format_spacing(value) if column == "spacing_um" else str(value)
            row.values[column] = text
    row.values["base_image"] = row["base_image"] or "seg1"


def stated_regions(row: Row) -> Regions:
    """Return the regions that a row's own cells name.

    ``exclude`` and ``merge`` say what the masks were made from; where they are empty, the masks
    themselves are it.
    """
    found = {}
    for kind in ("exclude", "merge"):
        mask = row.named(f"{kind}_mask")
        parts = split_parts(row[kind], row.root)
        found[kind] = parts or ((mask,) if mask else ())
    return Regions(**found)


def absolute(row: Row) -> Row:
    """Return a row whose paths do not depend on where its table lies."""
    files = {column: row.named(column) for column in FILE_COLUMNS}
    parts = {kind: join_parts(split_parts(row[kind], row.root)) for kind in ("exclude", "merge")}
    return replace(row, values={**row.values, **files, **parts, "id": row.id})


def _rows_of_pairs(settings: Settings) -> tuple[list[Row], list[Unmatched]]:
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


def _rows_of_table(settings: Settings) -> list[Row]:
    raw = str(settings.raw)
    found = find_format(DATASET_FORMATS, raw)
    rows = (
        found.read(Path(raw).expanduser()) if found else list(read_manifest(raw, ("raw", "seg1")))
    )
    return [absolute(row) for row in rows]


def _check_statuses(rows: Sequence[Row], where: str) -> None:
    """Bring the status of table rows to the words that are known."""
    known = {"": "", "keep": "keep", "reject": "reject", "rejected": "reject", "undecided": ""}
    wrong = [
        f"{row.where('status')}: {row['status']!r}; expected keep, reject or nothing"
        for row in rows
        if row["status"].lower() not in known
    ]
    if wrong:
        raise ManifestError(where, wrong, "Correct these cells.")
    for row in rows:
        row.values["status"] = known[row["status"].lower()]


def _refuse_doubles(rows: Sequence[Row], where: str) -> None:
    numbers: dict[str, list[str]] = {}
    for row in rows:
        numbers.setdefault(row.id, []).append(str(row.number))
    twice = [
        f"rows {', '.join(found)} have the same id {name!r}"
        for name, found in numbers.items()
        if len(found) > 1
    ]
    if twice:
        raise ManifestError(where, twice, "Tell them apart in a column `id`.")


def _fill_groups(rows: Sequence[Row], settings: Settings) -> None:
    """Set the group of each row: as asked, else as the CSV says, else the row itself."""
    asked = settings.group
    if not asked or not rows:
        for row in rows:
            row.values["group"] = row["group"] or row.id
        return
    columns = sorted({name for row in rows for name, value in row.values.items() if value})
    if "(" not in asked:
        if not settings.from_table or asked not in columns:
            raise ConfigError(
                f"group={asked!r}",
                f"is neither a pattern nor a column (columns: {', '.join(columns)})"
                if settings.from_table
                else "is no pattern with a part named (?P<group>...)",
                r"Example: group='(?P<group>Emb\d+)'.",
            )
        found = [row[asked] for row in rows]
    else:
        pattern = compile_pattern(asked, "group", "group")
        found = [
            find_part(pattern, "group", row["raw"]) or find_part(pattern, "group", row.id)
            for row in rows
        ]
    lost = [row.id for row, group in zip(rows, found, strict=True) if not group]
    if lost:
        raise ManifestError(
            f"group={asked!r}",
            f"no group found for {listed(lost, _LISTED)}",
            "Every image needs one: widen the pattern, or leave these images out.",
        )
    for row, group in zip(rows, found, strict=True):
        row.values["group"] = group
