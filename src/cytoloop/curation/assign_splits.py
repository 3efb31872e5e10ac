"""Fills split, fold and status of each row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from cytoloop.curation.checks.duplicates import refuse_leaks
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.folds import assign_folds
from cytoloop.curation.splits.group_splits import split_rows
from cytoloop.curation.splits.names import SPLIT_NAMES
from cytoloop.errors import ManifestError
from cytoloop.manifest import Row


def assign_splits(
    rows: Sequence[Row],
    results: Mapping[str, CheckResult],
    settings: CurationSettings,
    previous_splits: Mapping[str, str],
    previous_folds: Mapping[str, int],
) -> None:
    """Fill split, fold and status of each row.

    Parameters
    ----------
    rows : sequence of Row
        All rows. Those that are not rejected get a split and the status ``keep``.
    results : mapping of str to CheckResult
        By row id.
    settings : CurationSettings
    previous_splits, previous_folds : mapping
        By row id. A rejected row keeps its split and fold for the round in which it is kept again.

    Raises
    ------
    ConfigError, ManifestError
        Fewer than 2 images are left, requests that cannot be met, or near-duplicates in different
        splits.
    """
    kept = [row for row in rows if row["status"] != "reject"]
    if len(kept) < 2 < len(rows):
        raise _too_few_left(rows, len(kept))
    splits = split_rows(
        [row.id for row in kept],
        [row["group"] for row in kept],
        settings.valid,
        settings.test,
        settings.seed,
        previous_splits,
        counts=[results[row.id].objects for row in kept] if settings.stratify else None,
        leakage=settings.leakage,
    )
    folds: dict[str, int] = {}
    if settings.folds:
        groups = {row.id: row["group"] for row in kept if splits[row.id] != "test"}
        folds = assign_folds(groups, settings.folds, settings.seed, previous_folds)
    if settings.leakage == "refuse":
        checked = [results[row.id] for row in kept]
        refuse_leaks(checked, splits, folds, settings.limits["similarity"])
    for row in rows:
        row.values["split"] = splits.get(row.id) or previous_splits.get(row.id, "")
        previous_fold = previous_folds.get(row.id, "") if settings.folds else ""
        row.values["fold"] = str(folds.get(row.id, previous_fold))
        row.values["status"] = "keep" if row.id in splits else "reject"


def splits_of_table(rows: Sequence[Row], previous: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the splits that the rows of a table name, by row id.

    Parameters
    ----------
    rows : sequence of Row
    previous : mapping of str to str
        Splits of the previous round, by row id.
    where : str
        What the error calls the table.

    Raises
    ------
    ManifestError
        An unknown split, or another one than in the previous round.
    """
    found, problems = {}, []
    for row in rows:
        if not row["split"]:
            continue
        split = SPLIT_NAMES.get(row["split"])
        if split is None:
            problems.append(
                f"{row.where('split')}: {row['split']!r}; expected train, valid or test"
            )
        elif previous.get(row.id, split) != split:
            problems.append(
                f"{row.where('split')}: {split}; expected {previous[row.id]}, the split of the "
                "previous round"
            )
        else:
            found[row.id] = split
    if problems:
        raise ManifestError(
            where, problems, "Correct these cells, or give overwrite=true or another output=."
        )
    return found


def _too_few_left(rows: Sequence[Row], left: int) -> ManifestError:
    reasons = [row["reason"] or "no reason" for row in rows if row["status"] == "reject"]
    # without the value of the metric, which differs from row to row, equal reasons are counted
    counts = Counter(re.sub(r"(\w+) [-\d.e+]+ is", r"\1 is", reason) for reason in reasons)
    return ManifestError(
        "splitting",
        [f"{count} images are rejected: {reason}" for reason, count in counts.most_common(5)],
        f"{left} of {len(rows)} images are left; at least 2 are needed. Loosen the limits "
        "(quality.METRIC.min, .max, .action) or keep images in decisions.csv.",
    )
