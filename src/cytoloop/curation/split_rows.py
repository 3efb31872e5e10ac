"""Splitting: the split and fold of each row that is kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from cytoloop.curation.checks.duplicates import refuse_leaks
from cytoloop.curation.checks.facts import Facts
from cytoloop.curation.previous.read import Earlier
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.assign import split_rows
from cytoloop.curation.splits.names import SPLIT_NAMES
from cytoloop.curation.splits.strata import fold_rows
from cytoloop.errors import ManifestError
from cytoloop.manifest import Row


def assign_splits(
    rows: Sequence[Row],
    facts: Mapping[str, Facts],
    settings: CurationSettings,
    earlier: Earlier,
    kept: Mapping[str, str],
) -> None:
    """Fill in split, fold and status."""
    good = [row for row in rows if row["status"] != "reject"]
    if len(good) < 2 < len(rows):
        told = [row["reason"] or "no reason" for row in rows if row["status"] == "reject"]
        # the value of a figure differs from row to row, its limit does not
        reasons = Counter(re.sub(r"(\w+) [-\d.e+]+ is", r"\1 is", reason) for reason in told)
        raise ManifestError(
            "splitting",
            [f"{count} images are rejected: {reason}" for reason, count in reasons.most_common(5)],
            f"{len(good)} of {len(rows)} images are left; at least 2 are needed. Loosen the limits "
            "(quality.FIGURE.min, .max, .action) or keep images in decisions.csv.",
        )
    splits = split_rows(
        [row.id for row in good],
        [row["group"] for row in good],
        settings.valid,
        settings.test,
        settings.seed,
        kept,
        counts=[facts[row.id].objects for row in good] if settings.stratify else None,
        leakage=settings.leakage,
    )
    folds: dict[str, int] = {}
    if settings.folds:
        groups = {row.id: row["group"] for row in good if splits[row.id] != "test"}
        folds = fold_rows(groups, settings.folds, settings.seed, earlier.folds)
    if settings.leakage == "refuse":
        refuse_leaks([facts[row.id] for row in good], splits, folds, settings.limits["similarity"])
    for row in rows:
        # a rejected row remembers its split, so that it comes back to where it was
        row.values["split"] = splits.get(row.id) or kept.get(row.id, "")
        remembered = earlier.folds.get(row.id, "") if settings.folds else ""
        row.values["fold"] = str(folds.get(row.id, remembered))
        row.values["status"] = "keep" if row.id in splits else "reject"


def stated_splits(rows: Sequence[Row], kept: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the splits that a table states."""
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
