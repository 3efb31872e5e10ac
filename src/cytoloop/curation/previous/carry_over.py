"""Inheritance: what a round takes over from the one before, and what it tells of the rest."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.previous.read import Earlier
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import FILLED, Sources, stated_regions
from cytoloop.errors import listed
from cytoloop.manifest import Row

log = logging.getLogger(__name__)

_RULES = (
    *("key", "exclude_rules", "folds", "stratify", "undecided", "instances"),
    *("materialize", "leakage", "quality", "seed", "valid", "test", "paths"),
)
"""Settings whose change from round to round is easily made by leaving them out."""


def with_group_of(earlier: Earlier, settings: CurationSettings) -> CurationSettings:
    """Return settings with the group pattern of the earlier round where none is given.

    Without it new images of an old group would be groups of their own, on any side of the split.
    """
    pattern = earlier.record.get("settings", {}).get("group")
    if settings.group or not pattern or "(" not in pattern:
        return settings
    log.info("groups are found as in the earlier round: group=%s", pattern)
    return replace(settings, group=pattern)


def splits_of_moved(
    earlier: Earlier, rows: Sequence[Row], facts: Mapping[str, Facts]
) -> dict[str, str]:
    """Return the splits of pictures that the earlier round knew under another id."""
    here = {row.id for row in rows}
    before = {
        (row["sha256"], row["scene"], row["time"], row["channel"]): name
        for name, row in earlier.rows.items()
        if row["sha256"] and name not in here and name in earlier.splits
    }
    found = {}
    for row in rows:
        if row.id in facts and row.id not in earlier.rows:
            digest = facts[row.id].sha256.get("raw", "")
            old = before.get((digest, row["scene"], row["time"], row["channel"]))
            if old is not None:
                found[row.id] = earlier.splits[old]
    if found:
        log.info("%d images have other names than before and keep their split", len(found))
    return found


def tell_changed_images(earlier: Earlier, rows: Sequence[Row], facts: Mapping[str, Facts]) -> None:
    """Warn of raw images whose files hold something else than in the earlier round."""
    changed = [
        row.id
        for row in rows
        if row.id in earlier.rows
        and earlier.rows[row.id]["sha256"]
        and facts[row.id].sha256.get("raw") not in (None, earlier.rows[row.id]["sha256"])
    ]
    if changed:
        log.warning(
            "%d raw images have changed since the earlier round, and keep their split: %s",
            len(changed),
            listed(changed),
        )


def tell_changes(earlier: Earlier, settings: CurationSettings) -> None:
    """Warn of rules that are not those of the earlier round: each run says all of its own."""
    before = earlier.record.get("settings", {})
    now = settings.recorded()
    told = [
        f"{name} was {_short(before[name])} and is {_short(now[name])}"
        for name in _RULES
        if name in before and before[name] != now[name]
    ]
    if told:
        log.warning("other settings than in the earlier round: %s", "; ".join(told))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def inherit(sources: Sources, earlier: Earlier, settings: CurationSettings) -> None:
    """Give rows that are named again what the earlier round knew and no source tells now."""
    if settings.from_table:  # its cells say all there is to say
        return
    stated = earlier.record.get("settings", {})
    for row in sources.rows:
        before = earlier.rows.get(row.id)
        if before is None:
            continue
        columns = [*FILLED]
        columns += ["spacing_um"] if stated.get("spacing_um") is not None else []
        columns += ["seg2"] if settings.seg2 is None else []
        for column in columns:
            row.values[column] = row[column] or before[column]
        regions = stated_regions(before)
        sources.regions[row.id] = Regions(
            sources.regions[row.id].exclude if settings.exclude else regions.exclude,
            sources.regions[row.id].merge if settings.merge else regions.merge,
        )
