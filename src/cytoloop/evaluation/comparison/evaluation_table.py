"""Evaluations read from their ``metrics.csv``, and the images that two of them share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ManifestError, join_names
from cytoloop.evaluation.metrics import METRICS, VOXEL_SCORE
from cytoloop.evaluation.output.tables import METRICS_FILE
from cytoloop.manifest import Row, read_manifest

_TRUTH_COUNTS = ("n_truth", "voxels_true")
"""Counts that differ where images were scored against another truth."""


@dataclass(frozen=True)
class EvaluationTable:
    """Scores of the images of one evaluation.

    Attributes
    ----------
    name : str
        Key of the verb: ``a``, ``b`` or ``more1``.
    source : str
        Value of that key.
    rows : dict of str to Row
        Id to row of ``metrics.csv``.
    """

    name: str
    source: str
    rows: Mapping[str, Row]

    @property
    def title(self) -> str:
        """Name and source, for messages."""
        return f"{self.name}={self.source}"

    @property
    def scores(self) -> tuple[str, ...]:
        """Columns of scores with a value in any row: all metrics, and the Dice of each class."""
        known = (*METRICS, *(f"{VOXEL_SCORE}_{name}" for name in self.classes))
        return tuple(name for name in known if any(row[name] for row in self.rows.values()))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for an evaluation of objects."""
        return tuple(next(iter(self.rows.values()))["classes"].split())

    @property
    def is_semantic(self) -> bool:
        """Whether the truth holds no objects, but classes or masks only."""
        masks = (row["truth_is_binary"] == "True" for row in self.rows.values())
        return bool(self.classes) or all(masks)

    def value(self, image: str, score: str) -> float:
        """Return a score of an image, NaN where undefined."""
        text = self.rows[image][score]
        return float(text) if text else math.nan


def read_evaluation(name: str, source: str, path: str | Path) -> EvaluationTable:
    """Read an evaluation.

    Parameters
    ----------
    name, source : str
        See `EvaluationTable`.
    path : str or Path
        Output folder of `cytoloop evaluate`, or its ``metrics.csv``.

    Raises
    ------
    ManifestError
        No evaluation there, or cells that are not numbers.
    """
    path = Path(path).expanduser()
    table = path / METRICS_FILE if path.is_dir() else path
    if not table.is_file():
        raise ManifestError(
            f"{name}={source}",
            f"no evaluation there (no file {table})",
            "Pass an output folder of `cytoloop evaluate`, its metrics.csv, or runs:/ID.",
        )
    rows = read_manifest(table, ("id", "voxels_true", VOXEL_SCORE)).rows
    problems = [
        f"row {row.number}, column {column!r}: {row[column]!r} is not a number"
        for row in rows
        for column in (*METRICS, *_TRUTH_COUNTS)
        if row[column] and not _is_number(row[column])
    ]
    if not rows:
        problems.append("has no rows")
    if problems:
        raise ManifestError(str(table), problems, "Run `cytoloop evaluate` again.")
    return EvaluationTable(name, source, {row.id: row for row in rows})


def check_run(table: EvaluationTable, run_id: str | None) -> None:
    """Raise where an evaluation scored predictions of another run's model.

    Parameters
    ----------
    table : EvaluationTable
        Rows without a run (predicted with a model file) are accepted.
    run_id : str or None

    Raises
    ------
    ManifestError
    """
    others = sorted({row["run_id"] for row in table.rows.values()} - {run_id or "", ""})
    if others:
        raise ManifestError(
            table.title,
            f"scores predictions of run {join_names(others, 3)}, not of {run_id or 'this model'}",
            "Predict with this model and evaluate again.",
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class SharedImages:
    """Ids of images that two evaluations share, and of the others.

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
    """Return the images that two evaluations share.

    Raises
    ------
    ManifestError
        No shared image, or different classes.
    """
    if first.classes != second.classes:
        scored = [" ".join(one.classes) or "foreground" for one in (first, second)]
        raise ManifestError(
            second.title,
            f"scores {scored[1]}, but {first.title} scores {scored[0]}",
            "Compare evaluations of the same classes.",
        )
    both = [name for name in first.rows if name in second.rows]
    other = [name for name in both if _truth_counts(first, name) != _truth_counts(second, name)]
    same = [name for name in both if name not in set(other)]
    if not same:
        reason = "was scored against another truth than" if other else "shares no image with"
        raise ManifestError(
            second.title,
            [
                f"{reason} {first.title}",
                f"{first.name}: {join_names(first.rows)}",
                f"{second.name}: {join_names(second.rows)}",
            ],
            "Evaluate both on the same images and truth.",
        )
    return SharedImages(
        same,
        [name for name in first.rows if name not in second.rows],
        [name for name in second.rows if name not in first.rows],
        other,
    )


def _truth_counts(table: EvaluationTable, image: str) -> list[float]:
    return [float(table.rows[image][name] or 0) for name in _TRUTH_COUNTS]
