"""The runs of a study: which combinations of levels are trained, with which seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cytoloop.studies.settings import OPTUNA, Level, StudySettings


@dataclass(frozen=True)
class Combination:
    """One level of each factor.

    Attributes
    ----------
    levels : dict of str to Level
        Factor to its level.
    """

    levels: Mapping[str, Level]

    @property
    def names(self) -> dict[str, str]:
        """Factor to the name of its level."""
        return {factor: level.name for factor, level in self.levels.items()}

    @property
    def title(self) -> str:
        """Factors and levels, for people."""
        return ", ".join(f"{factor} {name}" for factor, name in self.names.items())

    @property
    def predictions(self) -> str | None:
        """Predictions of another tool that take the place of a training."""
        found = [level.predictions for level in self.levels.values() if level.predictions]
        return found[-1] if found else None

    @property
    def train_fraction(self) -> float:
        """Fraction of the training images."""
        return min(level.train_fraction for level in self.levels.values())

    @property
    def where(self) -> dict[str, tuple[str, ...]]:
        """Column to the values that training rows may have."""
        return {c: v for level in self.levels.values() for c, v in level.where.items()}

    def overrides(self, settings: StudySettings) -> list[str]:
        """Return the overrides of `cytoloop train`, those of the base first."""
        own = (one for level in self.levels.values() for one in level.overrides)
        return [*settings.base, *own]


def combinations(settings: StudySettings) -> list[Combination]:
    """Return the combinations of a design, the base first; none is there twice.

    Predictions of another tool do not depend on the other factors, so they are combined with the
    first level of each.
    """
    base = {factor: levels[0] for factor, levels in settings.factors.items()}
    found = [base, *_choices(settings, base)]
    unique: dict[tuple[str, ...], Combination] = {}
    for levels in found:
        if any(level.predictions for level in levels.values()):
            levels = {f: one if one.predictions else base[f] for f, one in levels.items()}
        unique.setdefault(tuple(level.name for level in levels.values()), Combination(levels))
    return list(unique.values())


def _choices(settings: StudySettings, base: Mapping[str, Level]) -> Iterator[dict[str, Level]]:
    """Yield combinations of the design."""
    names, levels = list(settings.factors), list(settings.factors.values())
    if settings.design == "one_factor":
        for factor, own in settings.factors.items():
            yield from ({**base, factor: level} for level in own[1:])
        return
    every = (dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*levels))
    if settings.design == "grid":
        yield from every
        return
    if settings.design == OPTUNA:
        return  # the search asks for the others
    rng = np.random.default_rng(0)  # the same combinations again, and those of fewer samples first
    for _ in range(settings.samples - 1):
        yield {name: own[rng.integers(len(own))] for name, own in settings.factors.items()}
