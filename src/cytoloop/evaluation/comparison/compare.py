"""Is b better than a: differences of the same images, and how sure one can be of them.

The rule. On one main score, the mean difference over the images that both have scored is
resampled by the bootstrap (groups where there are several, else images). The verdict is
- better: the 95 % interval lies above the smallest difference that matters, and there are at least
  `min_units` independent units (groups, else images);
- worse: it lies below the negative of that, with as many units;
- no evidence: all else.
With fewer than six units even a change in one direction everywhere can be chance: a sign test has
p = 2 / 2^5 = 0.06 with five.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.evaluation.bootstrap import (
    LEVEL,
    interval,
    p_value,
    resample_means,
    units_of,
)
from cytoloop.evaluation.comparison.evaluation_table import (
    EvaluationTable,
    SharedImages,
    find_shared_images,
)
from cytoloop.evaluation.metrics import SCORES, merit

BETTER, WORSE, UNSURE = "better", "worse", "no evidence"


@dataclass(frozen=True)
class VerdictRule:
    """How a verdict is reached.

    Attributes
    ----------
    score : str or None
        The main score; None for F1 at .5, or Dice where all truths are masks.
    min_effect : float
        Mean difference that matters, 0 or more.
    min_units : int
        Independent units below which there is no evidence.
    resamples, seed : int
        Of the bootstrap.
    """

    score: str | None = None
    min_effect: float = 0.0
    min_units: int = 6
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.score is not None and self.score not in SCORES:
            problems.append(f"score={self.score}: expected one of {', '.join(SCORES)}")
        if not 0 <= self.min_effect < math.inf:
            problems.append(f"min_effect={self.min_effect:g}: expected 0 or more")
        if self.min_units < 2:
            problems.append(f"min_units={self.min_units}: expected 2 or more")
        if self.resamples < 100:
            problems.append(f"resamples={self.resamples}: expected 100 or more")
        if problems:
            raise ConfigError("compare", problems, "See docs/evaluation.md.")


@dataclass(frozen=True)
class Comparison:
    """What two evaluations come to beside each other.

    Attributes
    ----------
    first, second : Scored
    shared : Shared
    main : str
        The main score.
    scores : dict of str to dict
        Score to ``first``, ``second`` (means), ``difference``, ``interval``, ``p_value``,
        ``images``. A difference is second less first; of scores whose sign or size is an error
        (see `merit`) it is that of the errors' sizes, turned so that more is better.
    groups : dict of str to dict
        Group to ``images`` and the mean difference of each score.
    changes : list of (str, float)
        Images with their difference in the main score, the largest loss first.
    verdict : str
        better, worse or no evidence (that the second is better or worse).
    reason : str
        The verdict in one sentence.
    units : int
    unit : str
        group or image.
    """

    first: EvaluationTable
    second: EvaluationTable
    shared: SharedImages
    main: str
    scores: dict[str, dict[str, Any]]
    groups: dict[str, dict[str, Any]]
    changes: list[tuple[str, float]]
    verdict: str
    reason: str
    units: int
    unit: str

    @property
    def worse(self) -> list[tuple[str, float]]:
        """The images that got worse."""
        return [(name, change) for name, change in self.changes if change < 0]


def compare(
    first: EvaluationTable, second: EvaluationTable, rule: VerdictRule | None = None
) -> Comparison:
    """Compare two evaluations.

    Raises
    ------
    ManifestError
        They share no image.
    ConfigError
        One of them has not measured the main score.
    """
    rule = rule or VerdictRule()
    shared = find_shared_images(first, second)
    main = rule.score or ("dice" if first.is_semantic and second.is_semantic else "f1_50")
    names = [name for name in first.scores if name in second.scores]
    if _mixed_units(first, second, shared):
        names = [name for name in names if name not in ("surface_dice", "hd95")]
    if main not in names:
        raise ConfigError(
            f"score={main}",
            "was not measured (in one unit) by both evaluations",
            f"Expected one of {', '.join(names)}.",
        )
    rows = [{"id": image, "group": first.rows[image]["group"]} for image in shared.images]
    units, kind = units_of(rows)
    gains = np.array([[_gain(first, second, i, n) for n in names] for i in shared.images])
    samples = resample_means(gains, units, rule.resamples, rule.seed)
    several = len(set(units)) > 1
    scores = {
        name: {
            **_means(first, second, shared.images, name),
            "difference": _mean(gains[:, k]),
            "interval": interval(samples[:, k]) if several else None,
            "p_value": p_value(samples[:, k]) if several else None,
            "images": int(np.isfinite(gains[:, k]).sum()),
        }
        for k, name in enumerate(names)
    }
    column = names.index(main)
    known = [place for place in range(len(rows)) if np.isfinite(gains[place, column])]
    changes = [(shared.images[place], float(gains[place, column])) for place in known]
    count = len({units[place] for place in known})
    verdict, reason = _judge(scores[main], main, count, kind, rule)
    return Comparison(
        first=first,
        second=second,
        shared=shared,
        main=main,
        scores=scores,
        groups=_groups(rows, gains, names),
        changes=sorted(changes, key=lambda change: change[1]),
        verdict=verdict,
        reason=reason,
        units=count,
        unit=kind,
    )


def _mixed_units(first: EvaluationTable, second: EvaluationTable, shared: SharedImages) -> bool:
    """Tell whether distances are in um for some of the images and in voxels for others."""
    return len({one.rows[i]["unit"] for one in (first, second) for i in shared.images}) > 1


def _gain(first: EvaluationTable, second: EvaluationTable, image: str, name: str) -> float:
    return merit(name, second.value(image, name)) - merit(name, first.value(image, name))


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _means(
    first: EvaluationTable, second: EvaluationTable, images: list[str], name: str
) -> dict[str, float | None]:
    """Return the means of both over the images where both are defined."""
    table = np.array([[one.value(i, name) for one in (first, second)] for i in images])
    table = table[np.isfinite(table).all(axis=1)]
    return {"first": _mean(table[:, 0]), "second": _mean(table[:, 1])}


def _groups(
    rows: list[dict[str, str]], gains: np.ndarray, names: list[str]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for group in sorted({row["group"] for row in rows if row["group"]}):
        inside = np.array([row["group"] == group for row in rows])
        means = {name: _mean(gains[inside, k]) for k, name in enumerate(names)}
        found[group] = {"images": int(inside.sum()), "difference": means}
    return found


def _judge(
    score: Mapping[str, Any], name: str, units: int, kind: str, rule: VerdictRule
) -> tuple[str, str]:
    """Return the verdict and why."""
    bounds = score["interval"]
    if units < rule.min_units or bounds is None:
        return (
            UNSURE,
            f"{units} {kind}(s) are too few to tell: at least {rule.min_units} are needed",
        )
    low, high = bounds
    told = f"{name} differs by {score['difference']:+.4f} ({LEVEL:.0%} {low:+.4f} to {high:+.4f})"
    told += f" over {units} {kind}s"
    if low > rule.min_effect:
        return BETTER, told
    if high < -rule.min_effect:
        return WORSE, told
    return UNSURE, told
