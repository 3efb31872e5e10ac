"""Comparison of two evaluations: differences on the same images, and a verdict.

The verdict rests on one main score. The mean difference over the shared images is resampled by the
bootstrap (groups where there are several, else images). The second evaluation is

- better: the 95 % interval lies above `min_effect`, and there are at least `min_units` independent
  units (groups, else images);
- worse: it lies below ``-min_effect``, with as many units;
- no evidence: everything else.

Fewer than six units are not enough: even a change in the same direction in all of five units can be
chance, with p = 2 / 2^5 = 0.06 in a sign test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.evaluation.bootstrap import (
    CONFIDENCE,
    interval,
    p_value,
    resample_means,
    sampling_units,
)
from cytoloop.evaluation.comparison.evaluation_table import (
    EvaluationTable,
    SharedImages,
    find_shared_images,
)
from cytoloop.evaluation.comparison.settings import VerdictRule
from cytoloop.evaluation.metrics import METRICS, OBJECT_SCORE, SURFACE, VOXEL_SCORE

BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence"


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side.

    Attributes
    ----------
    first, second : EvaluationTable
    shared : SharedImages
    main : str
        The main score.
    scores : dict of str to dict
        Score to ``first``, ``second`` (means), ``difference``, ``interval``, ``p_value``,
        ``images``. A difference is second minus first, turned so that higher is better, see
        `cytoloop.evaluation.metrics.Metric.oriented`.
    groups : dict of str to dict
        Group to ``images`` and the mean ``difference`` of each score.
    changes : list of (str, float)
        Images with their difference in the main score, the largest loss first.
    verdict : str
        `BETTER`, `WORSE` or `NO_EVIDENCE`: the second evaluation against the first.
    reason : str
        Reason of the verdict, in one sentence.
    units : int
        Number of independent units.
    unit : str
        ``group`` or ``image``.
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
        """Images that got worse, the largest loss first."""
        return [(name, change) for name, change in self.changes if change < 0]

    @property
    def conclusion(self) -> str:
        """The verdict with the name of the second evaluation: ``b is better``."""
        if self.verdict == NO_EVIDENCE:
            return self.verdict
        return f"{self.second.name} is {self.verdict}"

    @property
    def not_compared(self) -> dict[str, list[str]]:
        """Ids of images that were not compared, by reason."""
        reasons = {
            f"only in {self.first.name}": self.shared.only_first,
            f"only in {self.second.name}": self.shared.only_second,
            "with another truth": self.shared.other_truth,
            "the same image as another": self.shared.duplicates,
        }
        return {reason: ids for reason, ids in reasons.items() if ids}


def compare(
    first: EvaluationTable, second: EvaluationTable, rule: VerdictRule | None = None
) -> Comparison:
    """Compare two evaluations.

    Raises
    ------
    ManifestError
        They share no image.
    ConfigError
        One of them has no values of the main score.
    """
    rule = rule or VerdictRule()
    shared = find_shared_images(first, second)
    is_semantic = first.is_semantic and second.is_semantic
    main = rule.score or (VOXEL_SCORE if is_semantic else OBJECT_SCORE)
    names = [name for name in first.scores if name in second.scores]
    if _has_mixed_units(first, second, shared):
        names = [n for n in names if n not in METRICS or METRICS[n].group != SURFACE]
    if main not in names:
        raise ConfigError(
            f"score={main}",
            "was not measured (in one unit) by both evaluations",
            f"Expected one of {', '.join(names)}.",
        )
    rows = [{"group": "", **first.rows[image].values, "id": image} for image in shared.images]
    units, unit = sampling_units(rows)
    values = np.array(
        [[[one.value(i, n) for n in names] for one in (first, second)] for i in shared.images]
    )  # (images, 2, scores)
    gains = np.diff(_oriented(values, names), axis=1)[:, 0]
    samples = resample_means(gains, units, rule.resamples, rule.seed)
    has_intervals = len(set(units)) > 1
    scores = {
        name: {
            **_means(values[:, :, k]),
            "difference": _mean(gains[:, k]),
            "interval": interval(samples[:, k]) if has_intervals else None,
            "p_value": p_value(samples[:, k]) if has_intervals else None,
            "images": int(np.isfinite(gains[:, k]).sum()),
        }
        for k, name in enumerate(names)
    }
    column = names.index(main)
    known = np.flatnonzero(np.isfinite(gains[:, column]))
    changes = [(shared.images[place], float(gains[place, column])) for place in known]
    count = len({units[place] for place in known})
    verdict, reason = _judge(scores[main], main, count, unit, rule)
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
        unit=unit,
    )


def _has_mixed_units(first: EvaluationTable, second: EvaluationTable, shared: SharedImages) -> bool:
    """Return whether distances are in um for some images and in voxels for others."""
    return len({one.rows[i]["unit"] for one in (first, second) for i in shared.images}) > 1


def _oriented(values: np.ndarray, names: list[str]) -> np.ndarray:
    """Return values (images, 2, scores) turned so that higher is better."""
    turned = values.copy()
    for k, name in enumerate(names):
        if name in METRICS:  # others are the Dice of a class
            turned[..., k] = METRICS[name].oriented(values[..., k])
    return turned


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _means(values: np.ndarray) -> dict[str, float | None]:
    """Return the means of both sides (images, 2) over the images where both are defined."""
    both = values[np.isfinite(values).all(axis=1)]
    return {"first": _mean(both[:, 0]), "second": _mean(both[:, 1])}


def _groups(
    rows: list[dict[str, str]], gains: np.ndarray, names: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the number of images and the mean differences of each group."""
    found: dict[str, dict[str, Any]] = {}
    for group in sorted({row["group"] for row in rows if row["group"]}):
        inside = np.array([row["group"] == group for row in rows])
        means = {name: _mean(gains[inside, k]) for k, name in enumerate(names)}
        found[group] = {"images": int(inside.sum()), "difference": means}
    return found


def _judge(
    score: Mapping[str, Any], name: str, units: int, unit: str, rule: VerdictRule
) -> tuple[str, str]:
    """Return the verdict and its reason."""
    bounds = score["interval"]
    if units < rule.min_units or bounds is None:
        return NO_EVIDENCE, f"{units} {unit}(s) are too few: at least {rule.min_units} are needed"
    low, high = bounds
    reason = (
        f"{name} differs by {score['difference']:+.4f} "
        f"({CONFIDENCE:.0%} {low:+.4f} to {high:+.4f}) over {units} {unit}s"
    )
    if low > rule.min_effect:
        return BETTER, reason
    if high < -rule.min_effect:
        return WORSE, reason
    return NO_EVIDENCE, reason
