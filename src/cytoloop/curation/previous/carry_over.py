"""What a round takes over from the previous one, and warnings about what changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.previous.read import PreviousRound
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.row_cells import (
    COLUMNS_FROM_SETTINGS,
    fill_from_settings,
    regions_of_row,
)
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import Sources
from cytoloop.errors import ImageError, ManifestError, join_names
from cytoloop.io.digest import file_hash
from cytoloop.manifest import Row
from cytoloop.redact import redact_url
from cytoloop.truth.regions import box_rules

log = logging.getLogger(__name__)

_COMPARED_SETTINGS = (
    *("key", "exclude_rules", "folds", "stratify", "undecided", "instances"),
    *("materialize", "leakage", "quality", "seed", "valid", "test", "paths"),
)
"""Settings that are not inherited, so that leaving one out changes the data set."""


def inherit_settings(settings: CurationSettings, previous: PreviousRound) -> CurationSettings:
    """Return settings with the previous round's group pattern and planes, where none are given.

    Without the pattern, a new image of a known group would be its own group, and could be in
    another split. Without `planes`, new stacks would be 3D images among 2D ones.
    """
    if settings.planes is None and (planes := previous.settings.get("planes")):
        log.info("planes of stacks as in the previous round: planes=%s", planes)
        settings = replace(settings, planes=planes)
    pattern = previous.settings.get("group")
    if settings.group or not pattern or "(" not in pattern:
        return settings
    log.info("group pattern of the previous round: group=%s", pattern)
    return replace(settings, group=pattern)


def inherit_cells(sources: Sources, settings: CurationSettings, previous: PreviousRound) -> None:
    """Fill cells and regions that no source gives with those of the previous round.

    Rows of a table inherit nothing: their cells are complete.
    """
    if settings.from_table:
        return
    columns = [*COLUMNS_FROM_SETTINGS]
    columns += ["spacing_um"] if previous.settings.get("spacing_um") is not None else []
    columns += ["seg2"] if settings.seg2 is None else []
    for row in sources.rows:
        before = previous.rows.get(row.id)
        if before is None:
            continue
        for column in columns:
            row.values[column] = row[column] or before[column]
        regions = regions_of_row(before)
        sources.regions[row.id] = Regions(
            sources.regions[row.id].exclude if settings.exclude else regions.exclude,
            sources.regions[row.id].merge if settings.merge else regions.merge,
        )


def add_previous_rows(
    sources: Sources, settings: CurationSettings, previous: PreviousRound
) -> None:
    """Add rows of the previous round that the sources do not name.

    With ``parent_images=drop`` they are left out.

    Raises
    ------
    ManifestError
        An id names a different image than in the previous round.
    """
    _refuse_other_images(sources.rows, previous)
    named = {row.id for row in sources.rows}
    others = {row_id: row for row_id, row in previous.rows.items() if row_id not in named}
    known = len(named & set(previous.rows))
    if known:
        log.info("%d images keep the split of the previous round in %s", known, previous.folder)
    if settings.parent_images == "drop":
        if others:
            log.warning(
                "%d images of the previous round are not in the sources and are left out: %s",
                len(others),
                join_names(sorted(others)),
            )
        return
    if others and named:
        log.info(
            "%d images of the previous round are not in the sources and stay "
            "(parent_images=drop leaves them out)",
            len(others),
        )
    for row_id, row in others.items():
        values = {**row.values, "sha256": "", "group": row["group"] or row_id}
        added = replace(row, values=values)
        fill_from_settings(added, settings, previous.settings)
        sources.rows.append(added)
        sources.regions[row_id] = regions_of_row(row)
    sources.rows.sort(key=lambda row: row.id)


def splits_of_renamed_images(
    rows: Sequence[Row], results: Mapping[str, CheckResult], previous: PreviousRound
) -> dict[str, str]:
    """Return the splits of images that had another id in the previous round, by their new id."""
    ids = {row.id for row in rows}
    before = {
        (row["sha256"], *_selection(row)): row_id
        for row_id, row in previous.rows.items()
        if row["sha256"] and row_id not in ids and row_id in previous.splits
    }
    splits = {}
    for row in rows:
        if row.id in results and row.id not in previous.rows:
            digest = results[row.id].sha256.get("raw", "")
            old_id = before.get((digest, *_selection(row)))
            if old_id is not None:
                splits[row.id] = previous.splits[old_id]
    if splits:
        log.info("%d images have new names and keep their split", len(splits))
    return splits


def _selection(row: Row) -> tuple[str, ...]:
    """Return what a row reads of its raw file, with the part of an image that is cut in space."""
    return (row["scene"], row["time"], row["plane"], row["channel"], *box_rules(row["exclude"]))


def warn_changed_images(results: Mapping[str, CheckResult], previous: PreviousRound) -> None:
    """Warn of raw files whose content has changed since the previous round."""
    changed = [
        row_id
        for row_id, result in results.items()
        if row_id in previous.rows
        and previous.rows[row_id]["sha256"]
        and result.sha256.get("raw") not in (None, previous.rows[row_id]["sha256"])
    ]
    if changed:
        log.warning(
            "%d raw images have changed since the previous round, and keep their split: %s",
            len(changed),
            join_names(changed),
        )


def warn_changed_settings(settings: CurationSettings, previous: PreviousRound) -> None:
    """Warn of settings that are not inherited and differ from the previous round."""
    before, now = _flatten(previous.settings), _flatten(settings.to_record())
    changed = [
        f"{name} was {_short_json(before[name])} and is {_short_json(value)}"
        for name, value in now.items()
        if name.split(".")[0] in _COMPARED_SETTINGS and name in before and before[name] != value
    ]
    if changed:
        log.warning("settings that differ from the previous round: %s", "; ".join(changed))


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level, with names such as ``quality.focus.min``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        is_nested = isinstance(value, Mapping)
        flat |= _flatten(value, f"{prefix}{name}.") if is_nested else {prefix + name: value}
    return flat


def _short_json(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_other_images(rows: Sequence[Row], previous: PreviousRound) -> None:
    """Raise an error if an id names a different image than in the previous round."""
    problems = []
    for row in rows:
        before = previous.rows.get(row.id)
        if before is None or before.location("raw") == row.location("raw"):
            continue
        try:
            new = row.file("raw")
            old = None if before["sha256"] else before.file("raw")
        except ImageError:
            continue  # the check of the row makes it a problem
        if new is None or not new.exists():
            continue
        digest = before["sha256"] or (file_hash(old) if old and old.exists() else "")
        if digest and digest != file_hash(new):
            was, now = (redact_url(one.location("raw")) for one in (before, row))
            problems.append(f"id {row.id!r} was {was} and is now {now}, a different image")
    if problems:
        raise ManifestError(
            str(previous.folder),
            problems,
            "Rename the new images, give them other ids with key=, or start a new data set with "
            "another output= or overwrite=true.",
        )
