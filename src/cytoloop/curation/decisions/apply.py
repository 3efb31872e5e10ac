"""Judging: which rows are kept, by what people decided, by problems and by limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytoloop.curation.checks.dataset import describe_problems
from cytoloop.curation.checks.facts import Facts, spacings_differ
from cytoloop.curation.checks.quality_limits import find_breaches
from cytoloop.curation.decisions.latest import Verdict, unknown_ids
from cytoloop.curation.decisions.log import LOG, Line, joined, read_log
from cytoloop.curation.previous.read import AUTOMATIC, Earlier
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.errors import ManifestError, listed, shortened
from cytoloop.manifest import Row, format_spacing, locate

log = logging.getLogger(__name__)

_TOLD = 20
"""Lines of rejected rows on the terminal; dataset.csv has them all."""


def read_logs(settings: CurationSettings, earlier: Earlier) -> list[Line]:
    """Return all that was decided: in the round before, in this data set, and in a log given.

    Raises
    ------
    ManifestError
        A faulty log, or none where one is named.
    """
    own = locate(str(settings.output)) / LOG
    before = earlier.folder / LOG if earlier.folder else own
    given = locate(str(settings.decisions)) if settings.decisions else own
    return joined(
        read_log(before) if before.is_file() and not _same(before, own) else [],
        read_log(own) if own.is_file() else [],
        read_log(given) if not _same(given, own) else [],
    )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def apply_verdicts(
    rows: Sequence[Row],
    regions: Mapping[str, Regions],
    verdicts: Mapping[str, Verdict],
    settings: CurationSettings,
) -> dict[str, Regions]:
    """Fill in status, reason, curator and base image; return what each row's masks are made of.

    Regions that a person draws are added to those of the sources and to the rules; ``none``
    clears what was said before it.
    """
    final = {}
    for row in rows:
        verdict = verdicts.get(row.id, Verdict())
        stated = regions[row.id]
        final[row.id] = Regions(
            (*stated.exclude, *settings.rules, *verdict.exclude),
            (*stated.merge, *verdict.merge),
        )
        row.values["base_image"] = verdict.base_image or row["base_image"]
        if verdict.decision != "undecided":
            who = verdict.curator or LOG
            row.values |= {"status": verdict.decision, "reason": verdict.reason, "curator": who}
        elif row["status"] == "reject":
            row.values["curator"] = row["curator"] or "table"
        elif settings.undecided == "reject" and row["status"] != "keep":
            reject(row, "undecided")
    strangers = unknown_ids(verdicts, [row.id for row in rows])
    if strangers:
        log.warning(
            "decisions about %d images that are not in this data set: %s",
            len(strangers),
            "; ".join(shortened(strangers, _TOLD)),
        )
    return final


def reject(row: Row, reason: str) -> None:
    """Reject a row by itself: no person did, and the next round decides anew."""
    row.values |= {"status": "reject", "reason": reason, "curator": AUTOMATIC}


def reject_problems(
    rows: Sequence[Row], facts: Sequence[Facts], settings: CurationSettings
) -> None:
    """Reject rows that nothing can be learned from, or refuse them all.

    Raises
    ------
    ManifestError
        There are some, and ``on_problem`` is ``refuse``.
    """
    bad = [(row, one) for row, one in zip(rows, facts, strict=True) if one.problems]
    lines = describe_problems(rows, facts)
    if bad and settings.on_problem == "refuse":
        gone = any("file not found" in p.text for one in facts for p in one.problems)
        hint = " Images of the earlier round that are gone: earlier=drop." if gone else ""
        raise ManifestError(
            str(settings.raw or settings.parent or settings.output),
            lines,
            "Fix these images, reject them in decisions.csv, or give on_problem=reject to go on "
            f"without them.{hint} Nothing was written.",
        )
    for row, one in bad:
        reject(row, "; ".join(f"{p.column}: {p.text}" for p in one.problems))
    for line in lines[:_TOLD]:
        log.warning("rejected: %s", line)
    if len(lines) > _TOLD:
        log.warning("rejected: ... and %d more, see dataset.csv", len(lines) - _TOLD)


def apply_limits(
    rows: Sequence[Row], facts: Mapping[str, Facts], settings: CurationSettings
) -> dict[str, list[str]]:
    """Flag and reject rows by their figures; return what each flag says, by id.

    What a person has decided to keep is flagged at most.
    """
    told: dict[str, list[str]] = {}
    limits = settings.limits
    for row in rows:
        one = facts.get(row.id)
        if one is None:
            continue
        found = find_breaches(one.figures, limits)
        row.values["flags"] = " ".join(finding.figure for finding in found)
        told[row.id] = [finding.text for finding in found]
        beyond = [finding.text for finding in found if finding.action == "reject"]
        if beyond and row["status"] == "":
            reject(row, "; ".join(beyond))
    return told


def warn_about_spacing(
    rows: Sequence[Row], facts: Mapping[str, Facts], settings: CurationSettings
) -> None:
    """Warn where the voxel size given in the settings is not what the files say."""
    if settings.spacing_um is None:
        return
    judged = [facts[row.id] for row in rows if row.id in facts]
    other = [
        f"{one.id} ({format_spacing(one.file_spacing_um)})"
        for one in judged
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
            listed(other),
        )
