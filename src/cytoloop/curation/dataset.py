"""Curation: (sources, settings) -> data set. Run twice, it writes the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.consistency import (
    add_problems,
    describe_problems,
    find_duplicates,
    inspect_rows,
)
from cytoloop.curation.facts import Facts, spacings_differ
from cytoloop.curation.settings import Settings
from cytoloop.curation.sources import read_sources
from cytoloop.curation.split import SPLIT_NAMES, SPLITS, split_rows
from cytoloop.curation.writing import read_earlier, write_dataset
from cytoloop.errors import ManifestError
from cytoloop.manifest import Row, format_spacing

log = logging.getLogger(__name__)

_TOLD = 20
"""Lines of rejected rows on the terminal; dataset.csv has them all."""


@dataclass(frozen=True)
class CurationResult:
    """What a curation left.

    Attributes
    ----------
    rows : list of Row
        All rows, kept and rejected, as in ``dataset.csv`` but with absolute paths.
    facts : dict of str to Facts
        By id, of all rows that were checked.
    counts : dict of str to int
        ``images``, ``keep``, ``reject``, ``train``, ``valid``, ``test``.
    files : list of Path
        The files written.
    """

    rows: list[Row]
    facts: dict[str, Facts]
    counts: dict[str, int]
    files: list[Path]


def curate(settings: Settings, progress: bool = False) -> CurationResult:
    """Pair, check and split images, and write the data set.

    Parameters
    ----------
    settings : Settings
    progress : bool
        Show a bar on the terminal while images are checked.

    Raises
    ------
    ConfigError
        Settings that do not fit the images (unknown groups, missing sources).
    ManifestError
        Files without partners; bad rows, unless ``on_problem="reject"``; too few images.
    OutputError
        A folder that cannot, or must not, be written to. Nothing is written in any of these
        cases.
    """
    kept = read_earlier(settings.output)
    rows = read_sources(settings)
    _tell_earlier(rows, kept, str(settings.output))
    kept = {**_stated_splits(rows, kept, str(settings.raw)), **kept}
    # what a person has rejected is not looked at, and stays rejected
    judged = [row for row in rows if row["status"] != "reject"]
    facts = _inspect(judged, kept, progress)
    bad = _bad_rows(judged, facts, settings)
    _warn_about_spacing(judged, facts, settings)
    good = [row for row in judged if row.id not in bad]
    splits = split_rows(
        [row.id for row in good],
        [row["group"] for row in good],
        settings.valid,
        settings.test,
        settings.seed,
        kept,
    )
    by_id = {one.id: one for one in facts}
    for row in rows:
        # a rejected row remembers its split, so that it comes back to where it was
        row.values["split"] = splits.get(row.id) or kept.get(row.id, "")
        row.values["status"] = "keep" if row.id in splits else "reject"
        if row.id in by_id:
            _fill_facts(row, by_id[row.id])
    counts = count_rows(rows)
    files = write_dataset(settings.output, rows, by_id, settings.recorded(), counts, settings.paths)
    told = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    log.info("%d images: %s, %d rejected", counts["images"], told, counts["reject"])
    return CurationResult(rows, by_id, counts, files)


def _tell_earlier(rows: Sequence[Row], kept: Mapping[str, str], output: str) -> None:
    """Say what an earlier round decides: a split that does not follow the settings surprises."""
    ids = {row.id for row in rows}
    if ids & set(kept):
        log.info(
            "%d images keep the split of the earlier round in %s", len(ids & set(kept)), output
        )
    gone = sorted(set(kept) - ids)
    if gone:
        log.warning(
            "%d images of the earlier round are no longer in the sources and are left out: %s",
            len(gone),
            _some(gone),
        )


def _stated_splits(rows: Sequence[Row], kept: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the splits that a CSV source states."""
    stated, problems = {}, []
    for row in rows:
        if not row["split"]:
            continue
        split = SPLIT_NAMES.get(row["split"])
        if split is None:
            problems.append(
                f"{row.where('split')}: {row['split']!r}; expected train, valid or test"
            )
        elif kept.get(row.id, split) != split:
            problems.append(
                f"{row.where('split')}: {split}, but an earlier round has it in "
                f"{kept[row.id]}: an image never moves"
            )
        else:
            stated[row.id] = split
    if problems:
        raise ManifestError(where, problems, "Correct these cells, or take another output folder.")
    return stated


def _inspect(rows: Sequence[Row], kept: Mapping[str, str], progress: bool) -> list[Facts]:
    """Return the facts of the rows; of a picture that is there twice, the newer row is bad.

    Two groups with one picture may come into two splits, whatever the seed is today.
    """
    facts = inspect_rows(rows, progress=progress)
    order = sorted(range(len(rows)), key=lambda i: (rows[i].id not in kept, i))
    groups = [f"group {rows[i]['group']}" for i in order]
    found = find_duplicates([rows[i] for i in order], [facts[i] for i in order], groups)
    return add_problems(facts, [(order[i], problem) for i, problem in found])


def _bad_rows(rows: Sequence[Row], facts: Sequence[Facts], settings: Settings) -> set[str]:
    """Return the ids of rows to reject, with the reason filled in; or refuse them all."""
    bad = [(row, one) for row, one in zip(rows, facts, strict=True) if one.problems]
    lines = describe_problems(rows, facts)
    if bad and settings.on_problem == "refuse":
        raise ManifestError(
            str(settings.raw),
            lines,
            "Fix or remove these images, or give on_problem=reject to go on without them. "
            "Nothing was written.",
        )
    for row, one in bad:
        row.values["reason"] = "; ".join(f"{p.column}: {p.text}" for p in one.problems)
    for line in lines[:_TOLD]:
        log.warning("rejected: %s", line)
    if len(lines) > _TOLD:
        log.warning("rejected: ... and %d more, see dataset.csv", len(lines) - _TOLD)
    return {row.id for row, _ in bad}


def _warn_about_spacing(rows: Sequence[Row], facts: Sequence[Facts], settings: Settings) -> None:
    """Warn where the voxel size given in the settings is not what the files say."""
    if settings.spacing_um is None:
        return
    other = [
        f"{one.id} ({format_spacing(one.file_spacing_um)})"
        for one in facts
        if one.spacing_um
        and one.file_spacing_um
        and one.shape
        and spacings_differ(one.spacing_um, one.file_spacing_um, len(one.shape))
    ]
    if other:
        log.warning(
            "spacing_um=%s is used, but %d files say otherwise: %s",
            format_spacing(settings.spacing_um),
            len(other),
            _some(other),
        )


def _fill_facts(row: Row, facts: Facts) -> None:
    row.values["spacing_um"] = row["spacing_um"] or format_spacing(facts.spacing_um)
    row.values["sha256"] = facts.sha256.get("raw", "")


def count_rows(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many rows went where, and make sure that none is lost."""
    keep = [row for row in rows if row["status"] == "keep"]
    counts = {"images": len(rows), "keep": len(keep), "reject": 0}
    counts["reject"] = sum(row["status"] == "reject" for row in rows)
    counts |= {split: sum(row["split"] == split for row in keep) for split in SPLITS}
    if len(rows) != counts["keep"] + counts["reject"]:
        raise RuntimeError(f"rows were lost while curating: {counts}")
    if counts["keep"] != sum(counts[split] for split in SPLITS):
        raise RuntimeError(f"rows are in no split: {counts}")
    return counts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
