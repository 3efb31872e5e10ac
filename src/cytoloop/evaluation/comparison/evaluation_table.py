"""Evaluations to compare, as their tables have them: one row an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ManifestError, listed
from cytoloop.evaluation.metrics import SCORES
from cytoloop.manifest import Row, read_manifest

METRICS = "metrics.csv"
_TRUTH = ("n_truth", "voxels_true")


@dataclass(frozen=True)
class EvaluationTable:
    """An evaluation.

    Attributes
    ----------
    name : str
        As the user calls it: a, b ...
    source : str
        As given.
    rows : dict of str to Row
        Id to row of ``metrics.csv``.
    """

    name: str
    source: str
    rows: Mapping[str, Row]

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that any row has; of classes the Dice of each as well."""
        known = (*SCORES, *(f"dice_{name}" for name in self.classes))
        return tuple(s for s in known if any(row[s] for row in self.rows.values()))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are scored; empty for foreground and objects."""
        return tuple(next(iter(self.rows.values()))["classes"].split())

    def value(self, image: str, score: str) -> float:
        """Return a score of an image, NaN where it is undefined."""
        text = self.rows[image][score]
        return float(text) if text else math.nan

    @property
    def is_semantic(self) -> bool:
        """Whether the truth tells no objects: masks, whose pieces they would be, or classes."""
        return bool(self.classes) or all(
            row["truth_is_binary"] == "True" for row in self.rows.values()
        )


def read_evaluation(name: str, source: str, path: str | Path) -> EvaluationTable:
    """Read an evaluation.

    Parameters
    ----------
    name, source : str
        See `EvaluationTable`.
    path : str or Path
        The folder that `cytoloop evaluate` left, or its ``metrics.csv``.

    Raises
    ------
    ManifestError
        No evaluation there, or cells that are no numbers.
    """
    path = Path(path).expanduser()
    table = path / METRICS if path.is_dir() else path
    if not table.is_file():
        raise ManifestError(
            f"{name}={source}",
            f"no evaluation there (no file {table})",
            "Give an output folder of `cytoloop evaluate`, its metrics.csv, or runs:/ID.",
        )
    rows = read_manifest(table, ("id", "voxels_true", "dice")).rows
    problems = [
        f"row {row.number}, column {column!r}: {row[column]!r} is no number"
        for row in rows
        for column in (*SCORES, *_TRUTH)
        if row[column] and not _is_number(row[column])
    ]
    if not rows:
        problems.append("has no rows")
    if problems:
        raise ManifestError(str(table), problems, "Evaluate again.")
    return EvaluationTable(name, source, {row.id: row for row in rows})


def check_run(scored: EvaluationTable, run_id: str | None) -> None:
    """Refuse an evaluation of the predictions of another run's model.

    Raises
    ------
    ManifestError
        Its rows name other runs. Rows that name none (of a model file) are taken.
    """
    others = sorted({row["run_id"] for row in scored.rows.values()} - {run_id or "", ""})
    if others:
        raise ManifestError(
            f"{scored.name}={scored.source}",
            f"scores predictions of run {listed(others, 3)}, not of {run_id or 'this model'}",
            "Predict with this model and evaluate again.",
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class SharedImages:
    """Which images two evaluations share.

    Attributes
    ----------
    images : list of str
        Scored by both against the same truth.
    only_first, only_second : list of str
        Scored by one of them.
    other_truth : list of str
        Scored by both, against truths with different numbers of voxels or objects.
    """

    images: list[str]
    only_first: list[str]
    only_second: list[str]
    other_truth: list[str]


def find_shared_images(first: EvaluationTable, second: EvaluationTable) -> SharedImages:
    """Return the images of two evaluations.

    Raises
    ------
    ManifestError
        They share none, or score different classes.
    """
    if first.classes != second.classes:
        told = [" ".join(one.classes) or "foreground" for one in (first, second)]
        raise ManifestError(
            f"{second.name}={second.source}",
            f"scores {told[1]}, but {first.name}={first.source} {told[0]}",
            "Compare evaluations of the same classes.",
        )
    both = [name for name in first.rows if name in second.rows]
    other = [name for name in both if _truth(first, name) != _truth(second, name)]
    same = [name for name in both if name not in set(other)]
    if not same:
        raise ManifestError(
            f"{second.name}={second.source}",
            [
                f"shares no image with {first.name}={first.source}"
                if not other
                else f"was scored against another truth than {first.name}={first.source}",
                f"{first.name}: {listed(first.rows)}",
                f"{second.name}: {listed(second.rows)}",
            ],
            "Evaluate both on the same images and truth.",
        )
    return SharedImages(
        same,
        [name for name in first.rows if name not in second.rows],
        [name for name in second.rows if name not in first.rows],
        other,
    )


def _truth(scored: EvaluationTable, image: str) -> list[float]:
    return [float(scored.rows[image][name] or 0) for name in _TRUTH]
