"""Statistics of a study, on scores with a known answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cytoloop.studies.effects import (
    BETTER,
    NO_EVIDENCE,
    WORSE,
    effects,
    f1_curves,
    level_scores,
    ranking,
)
from cytoloop.studies.interactions import interactions, level_means
from cytoloop.studies.learning_curve import learning_curves, power_law
from cytoloop.studies.tables import IOUS, StudyScores

RNG = np.random.default_rng(0)


def study(
    levels: dict[str, float], seeds: int = 3, images: int = 12, noise: float = 0.01, **more: object
) -> StudyScores:
    """Return a study of one factor; a level adds its number to the score of each image."""
    image = RNG.uniform(0.5, 0.7, images)
    facts = [(level, str(seed)) for seed in range(seeds) for level in levels]
    done = [
        {"factor": level, "seed": seed, "minutes": "2", "train_images": "8", "status": "done"}
        for level, seed in facts
    ]
    values = np.array([image + levels[level] + RNG.normal(0, noise, images) for level, _ in facts])
    units = [f"image {number}" for number in range(images)]
    counts = np.ones((len(done), len(IOUS), 3))
    score = str(more.get("score", "f1_50"))
    factors = {"factor": list(levels)}
    return StudyScores(factors, score, done, done, units, units, "image", values, counts)


def test_while_other_levels_are_missing_a_level_has_the_runs_of_the_base() -> None:
    """One factor at a time: runs with other levels of another factor would blur it."""
    known = study({"base": 0, "down": -0.3})
    done = [row | {"other": "first"} for row in known.done]
    factors = {**known.factors, "other": ["first", "second"]}
    found = level_scores(replace(known, done=done, rows=done, factors=factors))
    scores = {(one.factor, one.level): (one.runs, one.mean) for one in found}
    assert scores["other", "first"] == scores["factor", "base"]


def test_true_differences_are_found_and_no_others() -> None:
    found = effects(study({"base": 0, "up": 0.1, "down": -0.1, "same": 0}))
    assert [one.verdict for one in found] == [BETTER, WORSE, NO_EVIDENCE]
    assert found[0].difference == pytest.approx(0.1, abs=0.01)
    low, high = found[0].interval or (0, 0)
    assert low < 0.1 < high and found[0].pairs == 3
    assert all(one.p <= one.adjusted <= 1 for one in found)


def test_levels_that_do_not_differ_are_seldom_called_different() -> None:
    wrong = sum(
        one.verdict != NO_EVIDENCE
        for _ in range(40)
        for one in effects(study({"base": 0, "b": 0, "c": 0}, noise=0.05), resamples=400)
    )
    assert wrong <= 10  # of 80; three seeds tell little of their own spread


@pytest.mark.parametrize("seeds, images", [(2, 12), (3, 5)])
def test_few_seeds_or_images_give_no_verdict(seeds: int, images: int) -> None:
    (found,) = effects(study({"base": 0, "up": 0.1}, seeds, images))
    assert found.verdict == NO_EVIDENCE and found.difference > 0.05


def test_scores_that_are_better_when_lower_are_turned() -> None:
    (found,) = effects(study({"base": 0, "up": 0.1}, score="hd95"))
    assert found.verdict == WORSE and found.difference < 0


def test_predictions_without_seed_are_paired_with_every_run_of_the_base() -> None:
    made = study({"base": 0, "tool": -0.2})
    for row in made.done:
        row["seed"] = "" if row["factor"] == "tool" else row["seed"]
    assert effects(made)[0].verdict == WORSE and effects(made)[0].pairs == 9


def test_the_interval_holds_the_spread_of_the_seeds() -> None:
    narrow, wide = (
        level_scores(
            study({"base": 0, "b": 0}, seeds=6, noise=0).__class__(
                **vars(study({"base": 0, "b": 0}, seeds=6, noise=0))
                | {"values": np.repeat(RNG.normal(0.6, spread, (12, 1)), 12, axis=1)}
            )
        )[0]
        for spread in (0.001, 0.1)
    )
    assert np.diff(narrow.interval or [0, 9])[0] < 0.01 < np.diff(wide.interval or [0, 0])[0]


def test_undefined_scores_are_left_out() -> None:
    made = study({"base": 0, "up": 0.1})
    made.values[:, 0] = np.nan
    made.values[1, 1] = np.nan
    assert effects(made)[0].difference == pytest.approx(0.1, abs=0.02)
    assert not np.isnan([one.mean for one in level_scores(made)]).any()


def test_the_ranking_says_how_sure_it_is() -> None:
    found = ranking(study({"base": 0, "up": 0.1, "same": 0}))
    assert found[0].levels["factor"] == "up" and found[0].first == 1
    close = ranking(study({"base": 0, "same": 0}))
    assert sum(one.first for one in close) == pytest.approx(1) and close[0].first < 1


def test_f1_is_pooled_over_the_images_and_runs_of_a_level() -> None:
    made = study({"base": 0, "up": 0.1}, seeds=2)
    made.counts[..., 0], made.counts[..., 1:] = 3, 4
    made.counts[1::2, :, 0] = 4  # runs of `up`
    assert f1_curves(made, "factor")["base"] == pytest.approx(6 * 2 / 16)
    assert f1_curves(made, "factor")["up"] == pytest.approx(1)


def test_a_learning_curve_recovers_its_law_and_forecasts() -> None:
    sizes = [4, 8, 16, 32, 64]
    law = {str(n): float(power_law(np.array([n]), 0.9, 0.8, 0.6)[0]) - 0.6 for n in sizes}
    made = study(law, noise=0.002)
    made.values[:] = 0.6 + np.array([law[row["factor"]] for row in made.done])[:, None]
    made.values[:] += RNG.normal(0, 0.002, made.values.shape)
    for row in made.done:
        row["train_images"] = row["factor"]
    (found,) = learning_curves(made)
    assert found.best == pytest.approx(0.9, abs=0.02) and found.rate == pytest.approx(0.6, abs=0.1)
    low, high = found.gain_interval or (1, 0)
    truth = float(np.diff(power_law(np.array([64, 74]), 0.9, 0.8, 0.6))[0])
    assert found.gain == pytest.approx(truth, rel=0.3) and 0 < low <= truth <= high < 0.01
    assert found.band.shape == (60, 2) and (found.band[:, 0] <= found.band[:, 1]).all()


def test_two_sizes_or_other_scores_have_no_curve() -> None:
    made = study({"4": 0, "8": 0.1})
    for row in made.done:
        row["train_images"] = row["factor"]
    assert learning_curves(made) == []
    assert learning_curves(study({"a": 0, "b": 0, "c": 0}, score="hd95")) == []


def grid(together: float) -> StudyScores:
    """Return a grid of two factors; the levels add .05 and .1, and `together` if both are set."""
    image = RNG.uniform(0.4, 0.6, 12)
    facts = [(a, b, str(s)) for s in range(4) for a in ("a0", "a1") for b in ("b0", "b1")]
    done = [
        {"a": a, "b": b, "seed": s, "minutes": "2", "train_images": "8", "status": "done"}
        for a, b, s in facts
    ]
    levels = [
        0.05 * (a == "a1") + 0.1 * (b == "b1") + together * (a == "a1" and b == "b1")
        for a, b, _ in facts
    ]
    values = np.array([image + level + RNG.normal(0, 0.005, 12) for level in levels])
    units = [f"image {number}" for number in range(12)]
    counts = np.ones((len(done), len(IOUS), 3))
    factors = {"a": ["a0", "a1"], "b": ["b0", "b1"]}
    return StudyScores(factors, "f1_50", done, done, units, units, "image", values, counts)


def test_interactions_are_found_where_they_are() -> None:
    (found,) = interactions(grid(0.08))
    assert found.is_found and found.runs == 4 and found.levels == ("a1", "b1")
    assert found.difference == pytest.approx(0.08, abs=0.01)
    low, high = found.interval or (1, 0)
    assert low < 0.08 < high
    (none,) = interactions(grid(0))
    assert not none.is_found and none.difference == pytest.approx(0, abs=0.01)
    means = level_means(grid(0.08), ("a", "b"))
    assert means[1] - means[0] == pytest.approx([0.05, 0.13], abs=0.01)


def test_one_factor_at_a_time_shows_no_interaction() -> None:
    made = grid(0.08)
    kept = [n for n, row in enumerate(made.done) if (row["a"], row["b"]) != ("a1", "b1")]
    rows = [made.done[n] for n in kept]
    some = StudyScores(
        **vars(made) | {"done": rows, "values": made.values[kept], "counts": made.counts[kept]}
    )
    assert interactions(some) == []
