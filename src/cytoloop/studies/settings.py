"""Settings of a study: its factors with their levels, its design and its seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.evaluation.metrics import METRICS
from cytoloop.studies.folds import MAX_FOLDS, MIN_FOLDS

OPTUNA = "optuna"
DESIGNS = ("one_factor", "grid", "random", OPTUNA)
_NAME = re.compile(r"[A-Za-z0-9][\w +\-]{0,59}")
_LEVEL_KEYS = ("overrides", "train_fraction", "where", "predictions")
ENSEMBLE = "ensemble"
ONE, OF_FOLDS = "one", "folds"
"""The factor of a study with folds, and its levels: one model, or those of all folds together."""
RESERVED = {
    *("run", "seed", "status", "train_images", "minutes", "folder", "mlflow_run", "problem"),
    *("runs", "mean", "first", "fold", ENSEMBLE, *METRICS),
}
"""Columns of the tables of a study, which no factor may have as its name."""
_OWN_KEYS = {"output", "data.path", "seed", "lock", "background", "resume", "rerun", "overwrite"}


@dataclass(frozen=True)
class Level:
    """One level of a factor.

    Attributes
    ----------
    name : str
    overrides : tuple of str
        Overrides of `cytoloop train`.
    train_fraction : float
        Fraction of the training images, (0, 1]; the images of 0.25 are among those of 0.5.
    where : mapping
        Column of the data set to the values that training rows may have.
    predictions : str or None
        Folder or table of another tool's predictions of the test images: nothing is trained.
    """

    name: str
    overrides: tuple[str, ...] = ()
    train_fraction: float = 1.0
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    predictions: str | None = None


@dataclass(frozen=True)
class StudySettings:
    """A study.

    Attributes
    ----------
    factors : dict of str to tuple of Level
        The first level of each factor is the base that others are compared with.
    design : str
        ``one_factor``: from the base, one factor at a time; ``grid``: all combinations;
        ``random``: combinations drawn at random; ``optuna``: chosen by the results so far.
    base : tuple of str
        Overrides of every run.
    seeds : tuple of int
    score : str
        The main score.
    samples : int
        Combinations of the designs ``random`` and ``optuna``.
    folds : int or None
        See `cytoloop.studies.folds`.
    """

    factors: Mapping[str, tuple[Level, ...]]
    design: str
    base: tuple[str, ...]
    seeds: tuple[int, ...]
    score: str
    samples: int
    folds: int | None = None


def read_settings(config: Mapping[str, Any]) -> StudySettings:
    """Return the settings of the config of `cytoloop study` (plain values).

    Raises
    ------
    ConfigError
        All faults at once.
    """
    problems: list[str] = []
    factors = dict(_read_factors(config["factors"], problems))
    if config["design"] not in DESIGNS:
        problems.append(f"design={config['design']}: expected one of {', '.join(DESIGNS)}")
    seeds = config["seeds"]
    seeds = list(range(1, seeds + 1)) if _is_whole(seeds) else seeds
    if not (isinstance(seeds, list) and seeds and all(_is_whole(one) for one in seeds)):
        problems.append(f"seeds={config['seeds']}: expected a number of seeds, or a list of seeds")
        seeds = []
    if len(set(seeds)) < len(seeds):
        problems.append(f"seeds={config['seeds']}: a seed is given twice")
    if config["score"] not in METRICS:
        problems.append(f"score={config['score']}: expected one of {', '.join(METRICS)}")
    if not _is_whole(config["samples"]) or not 1 <= config["samples"] <= 10_000:
        problems.append(f"samples={config['samples']}: expected a whole number, 1 to 10000")
    folds = config.get("folds")
    if folds is not None and not (_is_whole(folds) and MIN_FOLDS <= folds <= MAX_FOLDS):
        problems.append(f"folds={folds}: expected null, or {MIN_FOLDS} to {MAX_FOLDS}")
    base = _read_overrides("base", config["base"], problems)
    if problems:
        raise ConfigError("cytoloop study", problems, "See `cytoloop study --help`.")
    score, samples = config["score"], config["samples"]
    return StudySettings(factors, config["design"], base, tuple(seeds), score, samples, folds)


def _read_factors(given: Any, problems: list[str]) -> Iterator[tuple[str, tuple[Level, ...]]]:
    """Yield the factors with their levels; what is wrong is added to the problems."""
    if not isinstance(given, Mapping) or not given:
        problems.append("factors: none; a study needs one at least, for example study=augmentation")
        return
    for name, levels in given.items():
        if levels is None:  # a factor that an override removes: factors.NAME=null
            continue
        if not _NAME.fullmatch(str(name)):
            problems.append(f"factors.{name}: not a name of a factor (letters, digits, _ + -)")
        if str(name) in RESERVED:
            problems.append(f"factors.{name}: is a column of runs.csv, give another name")
        if not isinstance(levels, Mapping) or len(levels) < 2:
            problems.append(f"factors.{name}: expected two levels or more, each with its overrides")
            continue
        yield (
            str(name),
            tuple(
                _read_level(f"factors.{name}.{level}", str(level), value, problems)
                for level, value in levels.items()
            ),
        )


def _read_level(where: str, name: str, given: Any, problems: list[str]) -> Level:
    """Return a level: a list of overrides, or a mapping with more."""
    if not _NAME.fullmatch(name):
        problems.append(f"{where}: not a name of a level (letters, digits, space _ + -)")
    if given is None or isinstance(given, (list, str)):
        return Level(name, _read_overrides(where, given or [], problems))
    if not isinstance(given, Mapping):
        problems.append(f"{where}: expected a list of overrides, or {', '.join(_LEVEL_KEYS)}")
        return Level(name)
    unknown = [str(key) for key in given if key not in _LEVEL_KEYS]
    if unknown:
        expected = ", ".join(_LEVEL_KEYS)
        problems.append(f"{where}: unknown {', '.join(unknown)}; expected {expected}")
    fraction = given.get("train_fraction", 1.0)
    if (
        isinstance(fraction, bool)
        or not isinstance(fraction, (int, float))
        or not 0 < fraction <= 1
    ):
        problems.append(f"{where}.train_fraction is {fraction}, expected a number, above 0 to 1")
        fraction = 1.0
    columns = given.get("where") or {}
    if not isinstance(columns, Mapping):
        problems.append(f"{where}.where is {columns}, expected columns: {{group: [a, b]}}")
        columns = {}
    return Level(
        name,
        _read_overrides(where, given.get("overrides") or [], problems),
        float(fraction),
        {str(column): _texts(values) for column, values in columns.items()},
        None if given.get("predictions") is None else str(given["predictions"]),
    )


def _read_overrides(where: str, given: Any, problems: list[str]) -> tuple[str, ...]:
    """Return overrides of `cytoloop train` as text."""
    overrides = _texts(given)
    is_cut = any(one.count("[") > one.count("]") for one in overrides)
    hint = "; quote one that holds commas: [a=1,'b=[2,3]']" if is_cut else ""
    for one in overrides:
        key = one.lstrip("+~").partition("=")[0]
        if "=" not in one and not one.startswith("~"):
            problems.append(f"{where}: {one!r} is not an override, expected key=value{hint}")
        elif key in _OWN_KEYS:
            problems.append(f"{where}: {key} is set by the study, leave it out")
    return overrides


def _texts(values: Any) -> tuple[str, ...]:
    one = isinstance(values, str) or not isinstance(values, Sequence)
    return (str(values),) if one else tuple(map(str, values))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
