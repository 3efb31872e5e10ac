"""Results of the Python functions: paths, scores, and tables as data frames.

A table is read from its file when it is first used, and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytoloop.manifest.columns import PREFIXES

if TYPE_CHECKING:
    from pandas import DataFrame

_TEXT_COLUMNS = ("id", "group", "split", "channel", "scene", "plane", "run_id", "first", "second")
"""Columns whose cells stay text, for example the id ``007``."""


def read_table(path: Path) -> DataFrame:
    """Return a CSV table of CytoLoop as a data frame; empty cells are missing values."""
    import pandas as pd

    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT_COLUMNS, "str"))
    for name, prefix in PREFIXES.items():
        if name in table and table[name].notna().any():
            table[name] = table[name].str.removeprefix(prefix)
    return table


@dataclass(frozen=True)
class CurateResult:
    """A data set.

    Attributes
    ----------
    folder : Path
        Absolute; the value of ``data.path`` for training.
    counts : mapping of str to int
        ``images``, ``keep``, ``reject``, ``unmatched``, ``train``, ``valid``, ``test``.
    files : tuple of Path
        The files written.
    """

    folder: Path
    counts: Mapping[str, int]
    files: tuple[Path, ...]

    @cached_property
    def table(self) -> DataFrame:
        """``dataset.csv``: one row per image, also the rejected ones."""
        return read_table(self.folder / "dataset.csv")


@dataclass(frozen=True)
class CheckResult:
    """Facts of a data set without problems.

    Attributes
    ----------
    spatial_dims : int
        2 or 3.
    channels : tuple of str
        Names of the input channels.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X), the medians over the images.
    counts : mapping of str to int
        Images by split.
    shapes : mapping of str to tuple of int
        Shape ([Z,] Y, X) of each image of training and validation, by ``SPLIT: ID``.
    """

    spatial_dims: int
    channels: tuple[str, ...]
    spacing_um: tuple[float, ...] | None
    counts: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class TrainResult:
    """A trained model.

    Attributes
    ----------
    run_id : str
        Of the MLflow run.
    checkpoint : Path
        The best checkpoint, absolute.
    scores : mapping of str to float
        The score that chose the best checkpoint, and ``test/...``.
    folder : Path
        The output folder, absolute.
    """

    run_id: str
    checkpoint: Path
    scores: Mapping[str, float]
    folder: Path


@dataclass(frozen=True)
class PredictResult:
    """Predictions of files.

    Attributes
    ----------
    folder : Path
        Absolute; cells with paths in the table are relative to it.
    """

    folder: Path

    @cached_property
    def table(self) -> DataFrame:
        """``predictions.csv``: one row per image, with result files and status."""
        return read_table(self.folder / "predictions.csv")


@dataclass(frozen=True)
class EvaluateResult:
    """Scores of predictions.

    Attributes
    ----------
    folder : Path
        Absolute; holds tables, report and figures.
    summary : mapping
        As in ``summary.json``: ``mean``, ``pooled``, ``groups``, ``intervals`` ...
    """

    folder: Path
    summary: Mapping[str, Any]

    @cached_property
    def metrics(self) -> DataFrame:
        """``metrics.csv``: one row per image."""
        return read_table(self.folder / "metrics.csv")


@dataclass(frozen=True)
class CompareResult:
    """Comparison of evaluations with a first evaluation.

    Attributes
    ----------
    folder : Path
        Absolute; holds tables and report.
    verdict : str
        ``better``, ``worse`` or ``no evidence``: of b against a.
    reason : str
        Reason of the verdict, in one sentence.
    exit_status : int
        That of the command: 0 better, 3 no evidence, 4 worse.
    scores : DataFrame
        One row per score and evaluation: ``score``, ``first``, ``second`` (names),
        ``of_first``, ``of_second`` (means), ``difference``, ``low``, ``high`` (95 % interval),
        ``p_value``, ``images``. A positive difference is an improvement.
    """

    folder: Path
    verdict: str
    reason: str
    exit_status: int
    scores: DataFrame

    @cached_property
    def table(self) -> DataFrame:
        """``comparison.csv``: the main score of each image in both evaluations."""
        return read_table(self.folder / "comparison.csv")
