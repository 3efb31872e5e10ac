"""Figures of a study: score by level, F1 against IoU, cost against score, the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytoloop.evaluation.figures.charts import new_chart
from cytoloop.evaluation.metrics import METRICS, label_of
from cytoloop.io.writers.png import write_png
from cytoloop.studies.effects import LevelScore, Ranked, f1_curves, runs_of
from cytoloop.studies.interactions import level_means
from cytoloop.studies.learning_curve import LearningCurve, power_law
from cytoloop.studies.tables import IOUS, StudyScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")


def write_figures(
    study: StudyScores,
    levels: Sequence[LevelScore],
    ranked: Sequence[Ranked],
    curves: Sequence[LearningCurve],
    folder: Path,
) -> list[tuple[str, Path]]:
    """Draw the figures; return the title and the PNG file of each."""
    score = label_of(study.score)
    figures: list[tuple[str, str, Figure]] = []
    for factor in study.factors:
        own = [one for one in levels if one.factor == factor]
        if len(own) > 1:
            figures.append((f"{score} by {factor}", f"score_{factor}", _by_level(study, own)))
            title = f"F1 against IoU, by {factor}"
            figures.append((title, f"f1_{factor}", _f1(study, factor)))
    for one, other in combinations(study.factors, 2):
        if (
            np.isfinite(level_means(study, (one, other))).sum()
            > sum(len(study.factors[factor]) - 1 for factor in (one, other)) + 1
        ):  # more than one factor at a time
            title = f"{score} by {one} and {other}"
            figure = _interaction(study, (one, other))
            figures.append((title, f"interaction_{one}_{other}", figure))
    figures += [
        (f"Learning curve: {one.factor}", f"learning_{one.factor}", _learning(study, one))
        for one in curves
    ]
    if len(ranked) > 1:
        figures.append((f"Cost against {score}", "cost", _cost(study, ranked)))
    written = []
    for title, name, figure in figures:
        path = folder / f"{name.replace(' ', '_')}.png"
        write_png(path, figure)
        written.append((title, path))
    return written


def _by_level(study: StudyScores, levels: Sequence[LevelScore]) -> Figure:
    """Return a chart of the mean of each level with its interval, and of each run."""
    figure, axis = new_chart(label_of(study.score), "", height=1.2 + 0.42 * len(levels))
    for place, one in enumerate(reversed(levels)):
        runs = np.nanmean(study.values[runs_of(study, one.factor, one.level)], axis=1)
        axis.plot(runs, [place - 0.18] * len(runs), "o", color="#999999", markersize=3)
        if one.interval:
            axis.plot(one.interval, [place, place], "-", color=_COLOURS[0], linewidth=2)
        axis.plot([one.mean], [place], "o", color=_COLOURS[0], markersize=7)
    axis.set_yticks(range(len(levels)), [f"{one.level} ({one.runs})" for one in reversed(levels)])
    axis.set_ylim(-0.6, len(levels) - 0.4)
    axis.plot([], [], "o-", color=_COLOURS[0], label="mean, 95 %")
    axis.plot([], [], "o", color="#999999", markersize=3, label="a run")
    axis.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _interaction(study: StudyScores, factors: tuple[str, str]) -> Figure:
    """Return an interaction plot: parallel lines are two factors that do not interact."""
    first, second = factors
    figure, axis = new_chart(first, label_of(study.score))
    names = study.factors[first]
    for number, (level, means) in enumerate(
        zip(study.factors[second], level_means(study, factors).T, strict=True)
    ):
        colour = _COLOURS[number % len(_COLOURS)]
        axis.plot(range(len(names)), means, "o-", color=colour, label=level)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.3, len(names) - 0.7)
    axis.legend(frameon=False, fontsize="small", title=second, title_fontsize="small")
    return figure


def _f1(study: StudyScores, factor: str) -> Figure:
    figure, axis = new_chart("IoU of a match", "pooled F1")
    for number, (level, values) in enumerate(f1_curves(study, factor).items()):
        style = _STYLES[number // len(_COLOURS) % len(_STYLES)]
        colour = _COLOURS[number % len(_COLOURS)]
        axis.plot(np.array(IOUS) / 100, values, style, color=colour, marker=".", label=level)
    axis.set(ylim=(0, 1.02), xticks=[0.5, 0.6, 0.7, 0.8, 0.9])
    axis.legend(frameon=False, fontsize="small", loc="lower left")
    return figure


def _learning(study: StudyScores, curve: LearningCurve) -> Figure:
    """Return a chart of the scores, the fitted power law and its band; beyond the data dashed."""
    figure, axis = new_chart("training images", label_of(study.score))
    axis.fill_between(curve.at, *curve.band.T, color=_COLOURS[0], alpha=0.15, linewidth=0)
    fitted = power_law(curve.at, curve.best, curve.loss, curve.rate)
    inside = curve.at <= curve.sizes.max()
    axis.plot(curve.at[inside], fitted[inside], "-", color=_COLOURS[0], label="power law, 95 %")
    axis.plot(curve.at[~inside], fitted[~inside], "--", color=_COLOURS[0], label="forecast")
    axis.plot(curve.sizes, curve.means, "o", color=_COLOURS[1], label="mean of the runs")
    axis.set_xscale("log", base=2)
    shown = [int(size) for size in curve.sizes] + [int(4 * curve.sizes.max())]
    axis.set_xticks(shown, list(map(str, shown)))
    axis.minorticks_off()
    axis.legend(frameon=False, loc="lower right")
    return figure


def _cost(study: StudyScores, ranked: Sequence[Ranked]) -> Figure:
    figure, axis = new_chart("minutes of a run", label_of(study.score))
    for one, colour in zip(ranked, _COLOURS, strict=False):
        label = ", ".join(one.levels.values())
        axis.plot([one.minutes], [one.mean], "o", color=colour, label=label)
    if others := ranked[len(_COLOURS) :]:
        minutes, means = [one.minutes for one in others], [one.mean for one in others]
        axis.plot(minutes, means, "o", color="0.7", label=f"{len(others)} others")
    better = METRICS[study.score].better
    axis.set_title(f"{better} is better", fontsize="small", loc="left")
    axis.legend(frameon=False, fontsize="x-small", title="best first", title_fontsize="x-small")
    return figure
