"""Interactions of two factors: whether what one changes depends on the level of the other.

The interaction of level a of one factor with level b of another is the difference of differences
(ab - 0b) - (a0 - 00), in runs with the same seed and the same levels of all other factors; 0 is the
base level of each. Without an interaction it is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import false_discovery_control

from cytoloop.evaluation.bootstrap import interval, p_value
from cytoloop.evaluation.metrics import METRICS
from cytoloop.studies.effects import (
    MIN_SEEDS,
    MIN_UNITS,
    RESAMPLES,
    SIGNIFICANT,
    mean_of,
    resampled_means,
)
from cytoloop.studies.tables import StudyScores


@dataclass(frozen=True)
class Interaction:
    """The interaction of two levels.

    Attributes
    ----------
    factors, levels : tuple of str
        Of the first and the second factor.
    runs : int
        Sets of four runs.
    difference : float
        Difference of differences, turned so that above 0 the two levels help each other.
    interval : list of float or None
        95 %, over seeds and images.
    p, adjusted : float
        As in `cytoloop.studies.effects.Effect`.
    is_found : bool
        Whether there is evidence for it.
    """

    factors: tuple[str, str]
    levels: tuple[str, str]
    runs: int
    difference: float
    interval: list[float] | None
    p: float
    adjusted: float
    is_found: bool


def interactions(
    study: StudyScores, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interaction]:
    """Return the interactions of all pairs of levels whose four combinations were trained."""
    turned = METRICS[study.score].oriented(study.values)
    found = []
    for one, other in combinations(study.factors, 2):
        for a in study.factors[one][1:]:
            for b in study.factors[other][1:]:
                fours = list(_fours(study, (one, other), (a, b)))
                if not fours:
                    continue
                values = np.array(
                    [turned[ab] - turned[b0] - turned[a0] + turned[base]
                     for base, a0, b0, ab in fours]
                )  # fmt: skip
                samples = resampled_means(values, study.units, resamples, seed)
                seeds = {study.done[four[0]]["seed"] for four in fours}
                found.append(((one, other), (a, b), len(fours), values, samples, len(seeds)))
    p_values = [p_value(samples) for *_, samples, _ in found]
    adjusted = false_discovery_control(p_values) if p_values else []
    enough = len(set(study.units)) >= MIN_UNITS
    return [
        Interaction(
            *(factors, levels, count, mean_of(values), interval(samples), p, float(q)),
            is_found=bool(q < SIGNIFICANT and enough and seeds >= MIN_SEEDS),
        )
        for (factors, levels, count, values, samples, seeds), p, q in zip(
            found, p_values, adjusted, strict=True
        )
    ]


def _fours(
    study: StudyScores, factors: tuple[str, str], levels: tuple[str, str]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield runs (base, first level alone, second level alone, both) alike in all else."""
    bases = [study.factors[factor][0] for factor in factors]
    places = {
        (tuple(row[factor] for factor in study.factors), row["seed"], row.get("fold", "")): number
        for number, row in enumerate(study.done)
    }
    for (names, *more), base in places.items():
        own = dict(zip(study.factors, names, strict=True))
        if [own[factor] for factor in factors] != bases:
            continue
        four = [base]
        for changed in ({0}, {1}, {0, 1}):
            wanted = own | {factors[n]: levels[n] for n in changed}
            place = places.get((tuple(wanted.values()), *more))  # type: ignore[arg-type]
            if place is None:
                break
            four.append(place)
        else:
            yield four[0], four[1], four[2], four[3]


def level_means(study: StudyScores, factors: tuple[str, str]) -> np.ndarray:
    """Return the mean score (A, B) of each pair of levels, NaN where none was trained.

    Only runs with the base levels of the other factors count, so that the pairs can be compared.
    """
    base = {f: levels[0] for f, levels in study.factors.items() if f not in factors}
    rows = [
        (row, values)
        for row, values in zip(study.done, study.values, strict=True)
        if all(row[factor] == level for factor, level in base.items())
    ]
    return np.array(
        [
            [
                mean_of(np.array([v for row, v in rows if (row[factors[0]], row[factors[1]]) == p]))
                for p in ((a, b) for b in study.factors[factors[1]])
            ]
            for a in study.factors[factors[0]]
        ]
    )
