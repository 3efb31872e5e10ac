"""Evaluations read from their ``metrics.csv``, and the images that two of them share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.errors import ManifestError, join_names
from cytoloop.evaluation.metrics import METRICS, VOXEL_SCORE
from cytoloop.evaluation.output.tables import METRICS_FILE
from cytoloop.evaluation.scoring.conditions import DUPLICATE_COLUMN, SETTINGS, TRUTH_COLUMN
from cytoloop.home import expand_home
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
    path = expand_home(path)
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
        Scored by both, against different truths or with other voxels excluded.
    duplicates : list of str
        Ids of rows that show the image of another row.
    """

    images: list[str]
    only_first: list[str]
    only_second: list[str]
    other_truth: list[str]
    duplicates: list[str]


def find_shared_images(first: EvaluationTable, second: EvaluationTable) -> SharedImages:
    """Return the images that two evaluations share.

    Raises
    ------
    ManifestError
        No shared image, different classes, or different settings.
    """
    if first.classes != second.classes:
        scored = [" ".join(one.classes) or "foreground" for one in (first, second)]
        raise ManifestError(
            second.title,
            f"scores {scored[1]}, but {first.title} scores {scored[0]}",
            "Compare evaluations of the same classes.",
        )
    check_conditions(first, second)
    both = [name for name in first.rows if name in second.rows]
    twice = [n for n in both if first.rows[n][DUPLICATE_COLUMN] in both]
    both = [name for name in both if name not in set(twice)]
    other = [name for name in both if _differ_in_truth(first.rows[name], second.rows[name])]
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
        twice,
    )


def check_conditions(first: EvaluationTable, second: EvaluationTable) -> None:
    """Refuse two evaluations whose scores depend on different settings.

    Raises
    ------
    ManifestError
        For all settings and voxel sizes that differ.
    """
    problems = []
    for name in SETTINGS:
        one, other = (_setting(table, name) for table in (first, second))
        if one != other:
            problems.append(
                f"{name}: {first.name} has {_shown(one)}, {second.name} {_shown(other)}"
            )
    sizes = [
        image
        for image in first.rows
        if image in second.rows
        and all(table.rows[image]["spacing_um"] for table in (first, second))
        and first.rows[image].spacing_um != second.rows[image].spacing_um
    ]
    if sizes:
        problems.append(f"spacing_um differs in {len(sizes)} image(s): {join_names(sizes, 3)}")
    if problems:
        raise ManifestError(
            f"{first.title}, {second.title}",
            problems,
            "Scores under different conditions cannot be compared. Evaluate both with the same "
            "settings and this version of CytoLoop.",
        )


def _setting(table: EvaluationTable, name: str) -> tuple[str, ...]:
    """Return the values of a setting in all rows of an evaluation."""
    return tuple(sorted({row[name] for row in table.rows.values()}))


def _shown(values: Sequence[object]) -> str:
    return " and ".join(str(value) for value in values if value != "") or "none recorded"


def _differ_in_truth(one: Row, other: Row) -> bool:
    """Return whether two rows were scored against different truths.

    Rows of earlier versions have no digest of the truth: their counts are compared.
    """
    if one[TRUTH_COLUMN] and other[TRUTH_COLUMN]:
        return one[TRUTH_COLUMN] != other[TRUTH_COLUMN]
    return any(float(one[name] or 0) != float(other[name] or 0) for name in _TRUTH_COUNTS)
