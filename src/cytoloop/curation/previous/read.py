"""Rounds: what an earlier data set decided, and how the next one goes on from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cytoloop.curation.region_cells import join_parts
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import Sources, absolute, fill_cells, stated_regions
from cytoloop.curation.splits.names import SPLIT_NAMES, SPLITS
from cytoloop.errors import ImageError, ManifestError, OutputError, listed
from cytoloop.io.digest import file_hash
from cytoloop.manifest import FILE_COLUMNS, Row, absolute_name, locate, read_manifest
from cytoloop.redact import redact_url

log = logging.getLogger(__name__)

WHOLE = "dataset.csv"
RECORD = "dataset.json"
AUTOMATIC = "cytoloop"
"""The curator of what checks, limits and settings decided: decided anew in each round."""


@dataclass
class Earlier:
    """The data set of an earlier round; empty where there is none.

    Attributes
    ----------
    rows : dict of str to Row
        By id, with absolute paths.
    splits : dict of str to str
        By id; they never change.
    folds : dict of str to int
        By id.
    folder : Path or None
    digest : str
        SHA-256 of its ``dataset.csv``.
    record : dict
        Its ``dataset.json``.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    folds: dict[str, int] = field(default_factory=dict)
    folder: Path | None = None
    digest: str = ""
    record: dict[str, Any] = field(default_factory=dict)


def read_earlier(settings: CurationSettings) -> Earlier:
    """Return the round that this one follows.

    Raises
    ------
    OutputError
        The output folder is a file, or holds manifests that `cytoloop curate` did not write and
        that training would mix up with its own.
    ManifestError
        A ``dataset.csv`` that was spoiled since, or no data set where one is named.
    """
    output = locate(str(settings.output))
    _refuse_strangers(output)
    folder = locate(str(settings.parent)) if settings.parent else output
    table = folder / WHOLE
    if not table.is_file():
        if settings.parent:
            raise ManifestError(str(folder), f"holds no {WHOLE}", "Name a curated data set.")
        return Earlier()
    rows = {row.id: absolute(row) for row in read_manifest(table, ("raw", "id"))}
    wrong = [
        f"{row.where('split')}: {row['split']!r} is no split"
        for row in rows.values()
        if row["split"] and row["split"] not in SPLIT_NAMES
    ]
    if wrong:
        raise ManifestError(str(table), wrong, "Expected train, valid or test.")
    record = _read_record(folder / RECORD)
    for name, cells in record.get("materialized", {}).items():
        if name in rows:  # what the target was made from, so that it can be made anew
            files = {
                c: absolute_name(t, folder) for c, t in cells.items() if c in FILE_COLUMNS and t
            }
            rows[name].values |= {**cells, **files}
    return Earlier(
        rows=rows,
        splits={name: SPLIT_NAMES[row["split"]] for name, row in rows.items() if row["split"]},
        folds={name: int(row["fold"]) for name, row in rows.items() if row["fold"].isdigit()},
        folder=folder,
        digest=file_hash(table),
        record=record,
    )


def add_earlier(sources: Sources, earlier: Earlier, settings: CurationSettings) -> list[str]:
    """Add rows of the earlier round that the sources do not name; return the ids left out.

    Raises
    ------
    ManifestError
        An id that names another picture than in the earlier round.
    """
    _refuse_other_pictures(sources.rows, earlier)
    named = {row.id for row in sources.rows}
    others = {name: row for name, row in earlier.rows.items() if name not in named}
    same = len(named & set(earlier.rows))
    if same:
        log.info("%d images keep the split of the earlier round in %s", same, earlier.folder)
    if settings.earlier == "drop":
        if others:
            log.warning(
                "%d images of the earlier round are not in the sources and are left out: %s",
                len(others),
                listed(sorted(others)),
            )
        return sorted(others)
    if others and named:
        log.info(
            "%d images of the earlier round are not in these sources and stay "
            "(earlier=drop leaves them out)",
            len(others),
        )
    for name, row in others.items():
        values = {**row.values, "sha256": "", "group": row["group"] or name}
        again = replace(row, values=values)
        fill_cells(again, settings, earlier.record.get("settings"))
        sources.rows.append(again)
        sources.regions[name] = stated_regions(row)
    sources.rows.sort(key=lambda row: row.id)
    return []


def forget_automatic(rows: Sequence[Row], decided: Sequence[str]) -> None:
    """Clear what an earlier round decided by itself, or by a log that is read again."""
    again = set(decided)
    for row in rows:
        row.values["flags"] = ""
        kept_by_nobody = row["status"] == "keep" and not row["curator"]
        if row["curator"] == AUTOMATIC or row.id in again or kept_by_nobody:
            row.values |= {"status": "", "reason": "", "curator": ""}


def parent_of(earlier: Earlier, output: Path, digest: str, settings: dict[str, Any]) -> Any:
    """Return what ``dataset.json`` records of the round before.

    A run that leaves the data set of its own folder as it was is no round of its own.
    """
    if earlier.folder is None:
        return None
    mine = earlier.folder.resolve() == output.resolve()
    if mine and earlier.digest == digest and earlier.record.get("settings") == settings:
        return earlier.record.get("parent")
    counts = earlier.record.get("counts", {})
    grandparent = earlier.record.get("parent") or {}
    return {
        "dataset_csv": earlier.digest,
        "images": counts.get("images", len(earlier.rows)),
        "round": grandparent.get("round", -1) + 1,
    }


def regions_cells(stated: Regions, final: Regions, masks: dict[str, str]) -> dict[str, str]:
    """Return the cells ``exclude`` and ``merge``: empty where the mask is what the source said."""
    cells = {}
    for kind in ("exclude", "merge"):
        said, all_of_it = getattr(stated, kind), getattr(final, kind)
        mask = masks.get(f"{kind}_mask", "")
        plain = (said == all_of_it and (mask,) == said) or (not said and not all_of_it)
        cells[kind] = "" if plain else join_parts(said) or "none"
    return cells


def _read_record(path: Path) -> dict[str, Any]:
    """Return ``dataset.json``; a data set of a torn or lost record has none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log.warning("%s is missing or spoiled: the history before this round is lost", path)
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_other_pictures(rows: Sequence[Row], earlier: Earlier) -> None:
    problems = []
    for row in rows:
        before = earlier.rows.get(row.id)
        if before is None or before.named("raw") == row.named("raw"):
            continue
        try:
            new = row.file("raw")
            old = None if before["sha256"] else before.file("raw")
        except ImageError:
            continue  # its check will tell
        if new is None or not new.exists():
            continue
        digest = before["sha256"] or (file_hash(old) if old and old.exists() else "")
        if digest and digest != file_hash(new):
            names = [redact_url(one.named("raw")) for one in (before, row)]
            problems.append(f"id {row.id!r} was {names[0]} and is {names[1]} now: another picture")
    if problems:
        raise ManifestError(
            str(earlier.folder),
            problems,
            "Tell them apart by key=, or give the earlier picture a decision and another name.",
        )


def _refuse_strangers(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(str(folder), "is a file", "Name a folder: output=DIR.")
    ours = {f"{split}.csv" for split in SPLITS} if (folder / WHOLE).is_file() else set()
    strange = sorted(
        path.name
        for path in (*folder.glob("*.csv"), *folder.glob("*.parquet"))
        if path.name not in ours and _split_in_cytodl(path.stem)
    )
    if strange:
        raise OutputError(
            str(folder),
            f"holds {', '.join(strange)}, which `cytoloop curate` did not write: training "
            "would take them for a split of this data set",
            "Take another output folder, or move these files away.",
        )


def _split_in_cytodl(stem: str) -> bool:
    """Tell whether CytoDL takes a file of this name for a split (it compares beginnings)."""
    return any(
        stem.startswith(n) or n.startswith(stem) for n in ("train", "val", "test", "predict")
    )
