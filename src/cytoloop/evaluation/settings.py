"""Settings of an evaluation, and the checks that settings of `evaluate` and `compare` share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from cytoloop.errors import ConfigError
from cytoloop.evaluation.inputs.pairing import AUTO, PREDICTION_TYPES
from cytoloop.io.file_keys import STEM, compile_pattern
from cytoloop.manifest import PLANE_WORDS

MAX_RESAMPLES = 1_000_001
"""Resamples of the bootstrap stay below it: more change no digit that is shown."""

Checked = TypeVar("Checked", bound="CheckedSettings")


@dataclass(frozen=True)
class CheckedSettings:
    """Base of settings that are checked when they are made.

    Raises
    ------
    ConfigError
        Values of the wrong type or out of range; all of them at once.
    """

    verb: ClassVar[str]

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise ConfigError(self.verb, problems, f"See `cytoloop {self.verb} --help`.")

    def problems(self) -> list[str]:
        """Return a line for each invalid value."""
        return []

    @classmethod
    def from_config(cls: type[Checked], config: Mapping[str, Any]) -> Checked:
        """Return the settings that the config of the verb holds (plain values)."""
        return cls(**{field.name: config[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class EvaluationSettings(CheckedSettings):
    """How predictions are scored, and what is written.

    Attributes
    ----------
    tolerance_um : float
        Distance up to which surfaces agree (surface Dice), in um; in voxels where the voxel size
        is unknown.
    spacing_um : sequence of float or None
        (Z, Y, X) voxel size in um of images whose tables and files state none.
    resamples : int
        Number of bootstrap resamples; 0 computes no intervals.
    seed : int
        Seed of the bootstrap.
    predictions_are : str
        One of `PREDICTION_TYPES`; ``auto`` decides file by file. For a table of predictions it is
        the column to score.
    threshold : float
        Probability (0 to 1) above which a voxel is foreground; for probability maps.
    key : str
        ``stem``, or a regular expression with ``(?P<id>...)``: files with the same key are paired.
    scene : str, int or None
        Name or number of the scene of files with several. None or ``all``: one row per scene.
    time : str, int or None
        Time point, from 0, as `scene`.
    axes, axes_truth : str or None
        Axes of files that do not state them, for example ``TYX``; None: as the files say, for the
        truth else those of the predictions.
    planes : bool, str or None
        See `cytoloop.evaluation.inputs.planes.choose_planes`.
    ignore_label : int, text or None
        Values of the truth that mark voxels nobody labelled, where its table names none. They
        count for nothing.
    overlays : int
        Number of worst images to draw.
    overwrite : bool
        Remove the files of a former evaluation from the output folder first.
    """

    verb = "evaluate"

    tolerance_um: float = 1.0
    spacing_um: Sequence[float] | None = None
    resamples: int = 2000
    seed: int = 0
    predictions_are: str = AUTO
    threshold: float = 0.5
    key: str = STEM
    scene: str | int | None = None
    time: str | int | None = None
    axes: str | None = None
    axes_truth: str | None = None
    planes: bool | str | None = None
    ignore_label: Any = None
    overlays: int = 8
    overwrite: bool = False

    def problems(self) -> list[str]:
        """Return a line for each invalid value."""
        problems = [
            *number_problem("tolerance_um", self.tolerance_um),
            *_spacing_problem(self.spacing_um),
            *number_problem("resamples", self.resamples, below=MAX_RESAMPLES, whole=True),
            *number_problem("seed", self.seed, whole=True),
            *number_problem("threshold", self.threshold, below=1),
            *number_problem("overlays", self.overlays, whole=True),
            *flag_problem("overwrite", self.overwrite),
        ]
        if self.time is not None and str(self.time) != "all" and not str(self.time).isdigit():
            problems.append(f"time={self.time}: expected a time point from 0, or all")
        if self.planes not in (None, True, False, *PLANE_WORDS):
            problems.append(f"planes={self.planes}: expected true, false, all or annotated")
        if self.predictions_are not in PREDICTION_TYPES:
            expected = ", ".join(PREDICTION_TYPES)
            problems.append(f"predictions_are={self.predictions_are}: expected one of {expected}")
        if not re.fullmatch(r"(-?\d+[ ,;]*)*", self.ignore_cell):
            problems.append(f"ignore_label={self.ignore_label}: expected a label, for example 255")
        return [*problems, *_key_problems(self.key)]

    @property
    def ignore_cell(self) -> str:
        """The cell ``ignore_label`` of truths whose table has none."""
        given = self.ignore_label
        several = given if isinstance(given, (list, tuple)) else [] if given is None else [given]
        return " ".join(map(str, several))


def number_problem(
    name: str, value: Any, at_least: float = 0, below: float = math.inf, whole: bool = False
) -> list[str]:
    """Return the problem of a number as a list: empty where the number is valid.

    >>> number_problem("resamples", -1, whole=True)
    ['resamples=-1: expected 0 or more']
    >>> number_problem("resamples", 0.5, whole=True)
    ['resamples=0.5: expected a whole number, 0 or more']
    >>> number_problem("threshold", 0.5, below=1)
    []
    """
    is_number = _is_number(value) and (not whole or isinstance(value, int))
    if is_number and at_least <= value < below:
        return []
    kind = "" if is_number else "a whole number, " if whole else "a number, "
    limit = f", below {below:.10g}" if below < math.inf else ""
    return [f"{name}={value}: expected {kind}{at_least:g} or more{limit}"]


def flag_problem(name: str, value: Any) -> list[str]:
    """Return the problem of a flag as a list: empty for true and false."""
    return [] if isinstance(value, bool) else [f"{name}={value}: expected true or false"]


def _key_problems(key: Any) -> list[str]:
    if not isinstance(key, str) or not key:
        return [f"key={key}: expected stem, or a pattern with (?P<id>...)"]
    try:
        if key != STEM:
            compile_pattern(key, "id", "key")
    except ConfigError as error:
        return [f"key={key}: {problem}" for problem in error.problems]
    return []


def _spacing_problem(spacing: Any) -> list[str]:
    if spacing is None:
        return []
    is_triple = isinstance(spacing, (list, tuple)) and len(spacing) == 3
    if is_triple and all(_is_number(step) and step > 0 for step in spacing):
        return []
    return [f"spacing_um={spacing}: expected [z,y,x] in um, each above 0"]


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
