"""Which rows are kept: by decisions of curators, by problems, and by limits of metrics."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from cytoloop.curation.checks.dataset import describe_problems
from cytoloop.curation.checks.quality_limits import find_violations
from cytoloop.curation.checks.result import (
    FILE_NOT_FOUND,
    IS_CONSTANT,
    CheckResult,
    spacings_differ,
)
from cytoloop.curation.decisions.join import Logs
from cytoloop.curation.decisions.latest import Decision, unknown_ids
from cytoloop.curation.decisions.log import check_columns, read_log
from cytoloop.curation.file_names import DECISIONS_CSV
from cytoloop.curation.region_masks import Regions
from cytoloop.curation.row_cells import replace_segmentation
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.sources import Sources
from cytoloop.errors import ManifestError, join_names, truncate_lines
from cytoloop.manifest import Row, absolute_path, format_spacing

log = logging.getLogger(__name__)

AUTOMATIC = "cytoloop"
"""The curator of decisions by checks, limits and settings. Each round makes them anew."""

_MAX_LOGGED = 20
"""Largest number of rejected rows on the terminal. dataset.csv has all of them."""


def read_logs(settings: CurationSettings, parent: Path | None) -> Logs:
    """Return all decisions: of the parent data set, of this data set, and of ``decisions=``.

    Parameters
    ----------
    settings : CurationSettings
    parent : Path or None
        Folder of the previous round.

    Raises
    ------
    ManifestError
        A log with problems, or a missing file in ``decisions=``; this data set's log lacks a column
        that another log needs.
    """
    own = absolute_path(str(settings.output)) / DECISIONS_CSV
    of_parent = parent / DECISIONS_CSV if parent else own
    given = absolute_path(str(settings.decisions)) if settings.decisions else own
    logs = Logs.of(
        read_log(of_parent) if of_parent.is_file() and not _is_same(of_parent, own) else [],
        read_log(own) if own.is_file() else [],
        read_log(given) if not _is_same(given, own) else [],
    )
    check_columns(own, [*logs.parent, *logs.given])
    return logs


def clear_automatic_decisions(rows: Sequence[Row], decided: Container[str]) -> None:
    """Clear what the previous round decided without a curator, or by a log that is read again.

    Parameters
    ----------
    rows : sequence of Row
    decided : container of str
        Ids in the decisions log.
    """
    for row in rows:
        row.values["flags"] = ""
        is_kept_by_default = row["status"] == "keep" and not row["curator"]
        if row["curator"] == AUTOMATIC or row.id in decided or is_kept_by_default:
            row.values |= {"status": "", "reason": "", "curator": ""}


def apply_decisions(
    sources: Sources, decisions: Mapping[str, Decision], settings: CurationSettings
) -> dict[str, Regions]:
    """Fill status, reason, curator and base image of each row; return the regions of each row.

    Regions of a decision are added to those of the sources and to the rules of the settings.
    """
    regions = {}
    for row in sources.rows:
        decision = decisions.get(row.id, Decision())
        stated = sources.regions[row.id]
        regions[row.id] = Regions(
            (*stated.exclude, *settings.rules, *decision.exclude),
            (*stated.merge, *decision.merge),
        )
        row.values["base_image"] = decision.base_image or row["base_image"]
        if decision.decision != "undecided":
            row.values |= {
                "status": decision.decision,
                "reason": decision.reason,
                "curator": decision.curator or DECISIONS_CSV,
            }
        elif row["status"] == "reject":
            row.values["curator"] = row["curator"] or "table"
        elif settings.undecided == "reject" and row["status"] != "keep":
            _reject(row, "undecided")
    unknown = unknown_ids(decisions, [row.id for row in sources.rows])
    if unknown:
        log.warning(
            "decisions about %d images that are not in this data set: %s",
            len(unknown),
            "; ".join(truncate_lines(unknown, _MAX_LOGGED)),
        )
    return regions


def apply_corrections(
    rows: Sequence[Row], decisions: Mapping[str, Decision], regions: dict[str, Regions]
) -> dict[str, dict[str, str]]:
    """Make corrected labels the only segmentation of their rows; nothing is merged into them.

    Parameters
    ----------
    rows : sequence of Row
        With absolute paths. Corrected rows are changed.
    decisions : mapping of str to Decision
        By row id.
    regions : dict of str to Regions
        By row id. Those of corrected rows are changed.

    Returns
    -------
    dict of str to dict
        Row id to the cells that the corrected labels replace.
    """
    replaced = {}
    for row in rows:
        path = decisions.get(row.id, Decision()).labels
        if path:
            replaced[row.id] = replace_segmentation(row, path)
            regions[row.id] = Regions(regions[row.id].exclude)
    return replaced


def reject_problems(
    rows: Sequence[Row], results: Mapping[str, CheckResult], settings: CurationSettings
) -> None:
    """Reject rows that have problems, with ``on_problem=reject``.

    A plane of one grey level, such as the padding of a stack, is rejected in any case.

    Raises
    ------
    ManifestError
        There are problems, and ``on_problem`` is ``refuse``.
    """
    blank = [row for row in rows if row["plane"] and _is_constant(results[row.id])]
    for row in blank:
        _reject(row, results[row.id].problems[0].text)
    if blank:
        log.warning("rejected: %d plane(s) of one grey level", len(blank))
    rows = [row for row in rows if row not in blank]
    bad = [row for row in rows if results[row.id].problems]
    lines = describe_problems(rows, [results[row.id] for row in rows])
    if bad and settings.on_problem == "refuse":
        hint = ""
        if any(p.text.startswith(FILE_NOT_FOUND) for row in bad for p in results[row.id].problems):
            hint = " If images of the previous round were removed, give parent_images=drop."
        raise ManifestError(
            str(settings.raw or settings.parent or settings.output),
            lines,
            "Fix these images, reject them in decisions.csv, or give on_problem=reject to continue "
            f"without them.{hint} Nothing was written.",
        )
    for row in bad:
        _reject(row, "; ".join(f"{p.column}: {p.text}" for p in results[row.id].problems))
    for line in lines[:_MAX_LOGGED]:
        log.warning("rejected: %s", line)
    if len(lines) > _MAX_LOGGED:
        log.warning("rejected: ... and %d more, see dataset.csv", len(lines) - _MAX_LOGGED)


def apply_limits(
    rows: Sequence[Row], results: Mapping[str, CheckResult], settings: CurationSettings
) -> dict[str, list[str]]:
    """Flag and reject rows by their metrics; return the descriptions of the flags, by row id.

    A row that a curator keeps is flagged but not rejected.
    """
    flags: dict[str, list[str]] = {}
    limits = settings.limits
    for row in rows:
        found = find_violations(results[row.id].metrics, limits)
        row.values["flags"] = " ".join(violation.metric for violation in found)
        flags[row.id] = [violation.text for violation in found]
        reasons = [violation.text for violation in found if violation.action == "reject"]
        if reasons and row["status"] == "":
            _reject(row, "; ".join(reasons))
    return flags


def warn_about_spacing(
    results: Mapping[str, CheckResult], spacing_um: Sequence[float] | None
) -> None:
    """Warn where ``spacing_um`` differs from the voxel size in the files."""
    if spacing_um is None:
        return
    other = [
        f"{result.id} ({format_spacing(result.file_spacing_um)})"
        for result in results.values()
        if result.spacing_um
        and result.file_spacing_um
        and result.shape
        and spacings_differ(result.spacing_um, result.file_spacing_um, len(result.shape))
    ]
    if other:
        log.warning(
            "spacing_um=%s is used, but %d files have another voxel size: %s",
            format_spacing(spacing_um),
            len(other),
            join_names(other),
        )


def _reject(row: Row, reason: str) -> None:
    """Reject a row without a curator; the next round decides again."""
    row.values |= {"status": "reject", "reason": reason, "curator": AUTOMATIC}


def _is_constant(result: CheckResult) -> bool:
    """Return whether the only problem of a row is that its image has one grey level."""
    texts = [problem.text for problem in result.problems]
    return bool(texts) and all(text.startswith(IS_CONSTANT) for text in texts)


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
