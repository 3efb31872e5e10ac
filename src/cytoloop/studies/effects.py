"""What the runs of a study show: means with intervals, differences from the base, a ranking.

Both sources of chance are resampled at once: the runs of a level (their seeds) and the test images
(groups where there are several), each with replacement (bootstrap; Efron and Tibshirani 1993). With
three seeds the part of the seeds is only roughly known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from cytoloop.evaluation.bootstrap import draw_weights, interval, p_value
from cytoloop.evaluation.metrics import METRICS
from cytoloop.studies.tables import StudyScores

RESAMPLES = 4000
SIGNIFICANT = 0.05
MIN_UNITS, MIN_SEEDS = 6, 3
"""Independent units (groups, else images) and seeds below which nothing is better or worse."""

BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence"


@dataclass(frozen=True)
class LevelScore:
    """The mean score of a level.

    Attributes
    ----------
    factor, level : str
    runs : int
    mean : float
    interval : list of float or None
        95 %, over seeds and images.
    minutes : float
        Mean wall time of a run.
    """

    factor: str
    level: str
    runs: int
    mean: float
    interval: list[float] | None
    minutes: float


@dataclass(frozen=True)
class Effect:
    """The difference of a level from the base level of its factor, in pairs of runs.

    Attributes
    ----------
    factor, level, base : str
    pairs : int
        Pairs of runs that differ in this factor alone, with the same seed.
    difference : float
        Mean, turned so that higher is better.
    interval : list of float or None
        95 %.
    p : float
        Of "no difference", two-sided, from the bootstrap.
    adjusted : float
        `p`, corrected for the number of comparisons of the study (Benjamini and Hochberg 1995).
    verdict : str
        `BETTER`, `WORSE` or `NO_EVIDENCE`.
    """

    factor: str
    level: str
    base: str
    pairs: int
    difference: float
    interval: list[float] | None
    p: float
    adjusted: float
    verdict: str


@dataclass(frozen=True)
class Ranked:
    """A combination of levels in the ranking.

    Attributes
    ----------
    levels : dict of str to str
    runs : int
    mean : float
    first : float
        How often it would be the first with other test images, fraction of resamples.
    minutes : float
    """

    levels: Mapping[str, str]
    runs: int
    mean: float
    first: float
    minutes: float


def level_scores(study: StudyScores, resamples: int = RESAMPLES, seed: int = 0) -> list[LevelScore]:
    """Return the mean score of each level of each factor, over the runs in which the others vary.

    In the design ``one_factor`` these are the runs with the base levels of all other factors.
    """
    found = []
    for factor, levels in study.factors.items():
        for level in levels:
            runs = runs_of(study, factor, level)
            if not runs:
                continue
            values = study.values[runs]
            samples = resampled_means(values, study.units, resamples, seed)
            minutes = _mean_minutes(study, runs)
            mean = mean_of(values)
            found.append(LevelScore(factor, level, len(runs), mean, interval(samples), minutes))
    return found


def runs_of(study: StudyScores, factor: str, level: str) -> list[int]:
    """Return the runs of a level whose other levels also occur with the base of the factor.

    While no other level of the factor is finished, these are the runs with all others at the base.
    """
    base = study.factors[factor][0]
    others = [_others(study, factor, row) for row in study.done]
    with_base = {o for row, o in zip(study.done, others, strict=True) if row[factor] == base}
    varied = {o for row, o in zip(study.done, others, strict=True) if row[factor] != base}
    at_base = {tuple(levels[0] for name, levels in study.factors.items() if name != factor)}
    shared = with_base & varied or with_base & at_base or with_base
    return [
        number
        for number, row in enumerate(study.done)
        if row[factor] == level and others[number] in shared
    ]


def _others(study: StudyScores, factor: str, row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the levels of all other factors."""
    return tuple(row[name] for name in study.factors if name != factor)


def effects(study: StudyScores, resamples: int = RESAMPLES, seed: int = 0) -> list[Effect]:
    """Return the difference of each level from the base level of its factor."""
    turned = METRICS[study.score].oriented(study.values)
    found = []
    for factor, (base, *levels) in study.factors.items():
        for level in levels:
            if pairs := _pairs(study, factor, level, base):
                differences = np.array([turned[one] - turned[other] for one, other in pairs])
                samples = resampled_means(differences, study.units, resamples, seed)
                seeds = len({study.done[other]["seed"] for _, other in pairs})
                found.append(
                    ((factor, level, base, len(pairs), mean_of(differences)), samples, seeds)
                )
    p_values = [p_value(samples) for _, samples, _ in found]
    adjusted = false_discovery_control(p_values) if p_values else []
    units = len(set(study.units))
    return [
        Effect(
            *facts,
            interval(samples),
            p,
            float(q),
            _verdict(facts[-1], float(q), units >= MIN_UNITS and seeds >= MIN_SEEDS),
        )
        for (facts, samples, seeds), p, q in zip(found, p_values, adjusted, strict=True)
    ]


def _pairs(study: StudyScores, factor: str, level: str, base: str) -> list[tuple[int, int]]:
    """Return pairs of runs of a level and of the base that differ in this factor alone.

    Predictions of another tool have no seed, and ensembles no fold: they are paired with every run
    of the base.
    """
    bases = [number for number, row in enumerate(study.done) if row[factor] == base]
    return [
        (number, other)
        for number, row in enumerate(study.done)
        if row[factor] == level
        for other in bases
        if _others(study, factor, row) == _others(study, factor, study.done[other])
        and row["seed"] in ("", study.done[other]["seed"])
        and row.get("fold", "") in ("", study.done[other].get("fold", ""))
    ]


def _verdict(difference: float, adjusted: float, enough: bool) -> str:
    if not enough or not adjusted < SIGNIFICANT:
        return NO_EVIDENCE
    return BETTER if difference > 0 else WORSE


def ranking(study: StudyScores, resamples: int = RESAMPLES, seed: int = 0) -> list[Ranked]:
    """Return the combinations, the best first, each with how often it would be the first.

    Only the images are resampled: the question is how another test set would rank.
    """
    places: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(study.done):
        places.setdefault(tuple(row[factor] for factor in study.factors), []).append(number)
    turned = METRICS[study.score].oriented(study.values)
    with np.errstate(all="ignore"):
        means = np.stack([np.nanmean(turned[runs], axis=0) for runs in places.values()])
    known = ~np.isnan(means)
    firsts = np.zeros(len(places))
    for weights in draw_weights(study.units, resamples, seed):
        sums, counts = weights @ np.where(known, means, 0).T, weights @ known.T
        scores = np.divide(sums, counts, out=np.full(sums.shape, -np.inf), where=counts > 0)
        firsts += np.bincount(scores.argmax(axis=1), minlength=len(places))
    found = [
        Ranked(
            dict(zip(study.factors, levels, strict=True)),
            len(runs),
            mean_of(study.values[runs]),
            float(first / resamples),
            _mean_minutes(study, runs),
        )
        for (levels, runs), first in zip(places.items(), firsts, strict=True)
    ]
    return sorted(found, key=lambda one: -METRICS[study.score].oriented(one.mean))


def f1_curves(study: StudyScores, factor: str) -> dict[str, np.ndarray]:
    """Return F1 at each IoU of each level, pooled over images and runs."""
    found = {}
    for level in study.factors[factor]:
        runs = runs_of(study, factor, level)
        if not runs:
            continue
        matches, truths, predicted = study.counts[runs].sum(axis=0).T
        total = truths + predicted
        found[level] = np.divide(2 * matches, total, out=np.zeros(len(total)), where=total > 0)
    return found


def resampled_means(
    values: np.ndarray, units: Sequence[str], resamples: int, seed: int
) -> np.ndarray:
    """Return means (B,) of values (R, N) with runs and units drawn with replacement."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0)
    rng = np.random.default_rng([seed, 1])
    runs = len(values)
    found = []
    for weights in draw_weights(units, resamples, seed):
        drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=len(weights))
        sums = ((drawn @ filled) * weights).sum(axis=1)
        counts = ((drawn @ known) * weights).sum(axis=1)
        found.append(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))
    return np.concatenate(found)


def mean_of(values: np.ndarray) -> float:
    """Return the mean of all values that are known, NaN without one."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _mean_minutes(study: StudyScores, runs: Sequence[int]) -> float:
    minutes = [
        float(study.done[number]["minutes"]) for number in runs if study.done[number]["minutes"]
    ]
    return float(np.mean(minutes)) if minutes else float("nan")
