"""Sources: the rows of a curation, from paired files or from a CSV, each with its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cytoloop.curation.keys import compile_pattern, find_part
from cytoloop.curation.pairing import pair_images
from cytoloop.curation.settings import Settings
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import FILE_COLUMNS, Row, format_spacing, read_manifest


def read_sources(settings: Settings) -> list[Row]:
    """Return the rows to curate, sorted by id, with absolute paths, ids and groups filled in.

    Rows of a CSV keep their cells; settings fill the empty ones.

    Raises
    ------
    ConfigError, ManifestError
        Sources that cannot be paired or read, ids that are not unique, groups not found.
    """
    rows = _rows_of_csv(settings) if settings.from_csv else _rows_of_pairs(settings)
    defaults = {
        "channel": settings.channel,
        "channel_seg1": settings.channel_seg1,
        "channel_seg2": settings.channel_seg2,
        "spacing_um": format_spacing(settings.spacing_um),
    }
    for row in rows:
        for column, value in defaults.items():
            if not row[column] and value is not None:
                row.values[column] = str(value)
        row.values["base_image"] = row["base_image"] or "seg1"
        # the file of today is hashed anew; an old hash would call it changed
        row.values["sha256"] = ""
    _fill_groups(rows, settings)
    return sorted(rows, key=lambda row: row.id)


def _rows_of_pairs(settings: Settings) -> list[Row]:
    pairs = pair_images(
        settings.raw, settings.seg1 or "", settings.seg2, settings.exclude, settings.key
    )
    rows = []
    for number, pair in enumerate(pairs, start=1):
        files = {
            "raw": pair.raw,
            "seg1": pair.seg1,
            "seg2": pair.seg2,
            "exclude_mask": pair.exclude,
        }
        values = {column: str(path) for column, path in files.items() if path is not None}
        rows.append(Row({**values, "id": pair.id}, Path(), number))
    return rows


def _rows_of_csv(settings: Settings) -> list[Row]:
    manifest = read_manifest(settings.raw, ("raw", "seg1"))
    rows = []
    for row in manifest:
        files = {column: str(row.file(column) or "") for column in FILE_COLUMNS}
        rows.append(replace(row, values={**row.values, **files, "id": row.id}))
    numbers: dict[str, list[str]] = {}
    for row in rows:
        numbers.setdefault(row.id, []).append(str(row.number))
    twice = [
        f"rows {', '.join(where)} have the same id {name!r}"
        for name, where in numbers.items()
        if len(where) > 1
    ]
    if twice:
        raise ManifestError(str(settings.raw), twice, "Tell them apart in a column `id`.")
    return rows


def _fill_groups(rows: Sequence[Row], settings: Settings) -> None:
    """Set the group of each row: as asked, else as the CSV says, else the row itself."""
    asked = settings.group
    if not asked:
        for row in rows:
            row.values["group"] = row["group"] or row.id
        return
    columns = sorted({name for row in rows for name, value in row.values.items() if value})
    if "(" not in asked:
        if not settings.from_csv or asked not in columns:
            raise ConfigError(
                f"group={asked!r}",
                f"is neither a pattern nor a column (columns: {', '.join(columns)})"
                if settings.from_csv
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
        more = f" and {len(lost) - 20} more" if len(lost) > 20 else ""
        raise ManifestError(
            f"group={asked!r}",
            f"no group found for {', '.join(lost[:20])}{more}",
            "Every image needs one: widen the pattern, or leave these images out.",
        )
    for row, group in zip(rows, found, strict=True):
        row.values["group"] = group
