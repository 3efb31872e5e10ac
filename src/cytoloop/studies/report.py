"""The report of a study: a page with tables and figures, the same as CSV, and a terminal table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from cytoloop.curation.pool.rank import NEXT_FILE
from cytoloop.evaluation.metrics import label_of
from cytoloop.evaluation.output.report import embed_image
from cytoloop.evaluation.output.tables import write_rows
from cytoloop.evaluation.output.text import (
    format_difference,
    format_interval,
    format_p,
    format_score,
)
from cytoloop.io.html import write_page
from cytoloop.manifest import read_table
from cytoloop.studies.effects import (
    BETTER,
    MIN_SEEDS,
    MIN_UNITS,
    WORSE,
    Effect,
    LevelScore,
    Ranked,
    effects,
    level_scores,
    ranking,
)
from cytoloop.studies.energy import NOT_MEASURED
from cytoloop.studies.figures import write_figures
from cytoloop.studies.interactions import Interaction, interactions
from cytoloop.studies.learning_curve import MORE_IMAGES, LearningCurve, learning_curves
from cytoloop.studies.runs import DONE, FAILED, PRUNED
from cytoloop.studies.tables import POOL_FOLDER, StudyScores, read_study

PAGE, LEVELS_FILE, EFFECTS_FILE, RANKING_FILE = (
    "report.html",
    "levels.csv",
    "effects.csv",
    "ranking.csv",
)
INTERACTIONS_FILE = "interactions.csv"
_STYLES = {BETTER: "green", WORSE: "red"}


@dataclass(frozen=True)
class StudyReport:
    """What a study shows.

    Attributes
    ----------
    study : StudyScores
    levels : list of LevelScore
    effects : list of Effect
    ranked : list of Ranked
    curves : list of LearningCurve
    interactions : list of Interaction
    to_label : list of dict
        The first rows of the pool's ranking, see `cytoloop.studies.pool`; empty without one.
    """

    study: StudyScores
    levels: list[LevelScore]
    effects: list[Effect]
    ranked: list[Ranked]
    curves: list[LearningCurve]
    interactions: list[Interaction]
    to_label: list[dict[str, str]]

    @property
    def count(self) -> str:
        """How many runs are finished, failed and missing, in words."""
        rows = self.study.rows
        statuses = [row["status"] for row in rows]
        done, failed = statuses.count(DONE), statuses.count(FAILED)
        text = f"{done} of {len(rows)} runs finished"
        text += f", {failed} failed" if failed else ""
        pruned = statuses.count(PRUNED)
        text += f", {pruned} ended early by the search" if pruned else ""
        missing = len(rows) - done - failed - pruned
        return text + (f", {missing} missing: run the study again" if missing else "")

    @property
    def energy(self) -> str:
        """Mean energy of a run, or that it is not known."""
        known = [float(row["watt_hours"]) for row in self.study.done if row.get("watt_hours")]
        if not known:
            return NOT_MEASURED
        text = f"A run took {sum(known) / len(known):.2f} Wh of the processors on average"
        return f"{text} ({len(known)} of {len(self.study.done)} runs were measured; no GPU)."

    @property
    def images(self) -> str:
        """Number of test images and of what is independent among them."""
        units = len(set(self.study.units))
        text = f"{len(self.study.images)} test images"
        return text if self.study.unit == "image" else f"{text} in {units} groups"

    @property
    def conclusion(self) -> str:
        """What the differences say, in one sentence."""
        found = [one for one in self.effects if one.verdict in (BETTER, WORSE)]
        units = len(set(self.study.units))
        if units < MIN_UNITS:
            return (
                f"No verdict: the test images are {units} independent {self.study.unit}s, "
                f"at least {MIN_UNITS} are needed."
            )
        seeds = len({row["seed"] for row in self.study.done} - {""})
        if seeds < MIN_SEEDS:
            return f"No verdict: finished seeds {seeds}, at least {MIN_SEEDS} are needed."
        if not found:
            return "No evidence for a difference between levels of any factor."
        parts = [f"{o.factor} {o.level} is {o.verdict} than {o.base}" for o in found]
        return "; ".join(parts) + ". For all other levels there is no evidence for a difference."


def make_report(folder: Path) -> StudyReport:
    """Compute the report of a study, write its files, and return it.

    Raises
    ------
    ManifestError
        No study, or no finished run.
    OutputError
        The folder cannot be written to.
    """
    study = read_study(folder)
    found = StudyReport(
        study,
        level_scores(study),
        effects(study),
        ranking(study),
        learning_curves(study),
        interactions(study),
        _read_ranking(folder),
    )
    figures = write_figures(study, found.levels, found.ranked, found.curves, folder / "figures")
    _write_tables(found, folder)
    write_page(
        folder / PAGE,
        "cytoloop.studies",
        "report.html.jinja",
        report=found,
        score=label_of(study.score),
        figures=[(title, embed_image(path)) for title, path in figures],
        format_score=format_score,
        format_difference=format_difference,
        format_interval=format_interval,
        format_p=format_p,
        more_images=MORE_IMAGES,
        problems=[row for row in study.rows if row["status"] == FAILED],
    )
    return found


def _read_ranking(folder: Path) -> list[dict[str, str]]:
    """Return the images of the pool that come next, if `cytoloop rank` has ranked them."""
    path = folder / POOL_FOLDER / NEXT_FILE
    return read_table(path)[2] if path.is_file() else []


def _write_tables(report: StudyReport, folder: Path) -> None:
    """Write the tables of the page as CSV."""
    levels: list[dict[str, Any]] = [
        {
            "factor": one.factor,
            "level": one.level,
            "runs": one.runs,
            "mean": one.mean,
            **dict(zip(("low", "high"), one.interval or ("", ""), strict=True)),
            "minutes": one.minutes,
        }
        for one in report.levels
    ]
    write_rows(levels, folder / LEVELS_FILE, ("factor", "level", "runs", "mean", "low", "high"))
    differences: list[dict[str, Any]] = [
        {
            "factor": one.factor,
            "level": one.level,
            "base": one.base,
            "pairs": one.pairs,
            "difference": one.difference,
            **dict(zip(("low", "high"), one.interval or ("", ""), strict=True)),
            "p": one.p,
            "p_adjusted": one.adjusted,
            "verdict": one.verdict,
        }
        for one in report.effects
    ]
    first = ("factor", "level", "base", "pairs", "difference", "low", "high", "p", "p_adjusted")
    write_rows(differences, folder / EFFECTS_FILE, first)
    both: list[dict[str, Any]] = [
        {
            **dict(zip(("factor", "other_factor"), one.factors, strict=True)),
            **dict(zip(("level", "other_level"), one.levels, strict=True)),
            "runs": one.runs,
            "difference": one.difference,
            **dict(zip(("low", "high"), one.interval or ("", ""), strict=True)),
            "p": one.p,
            "p_adjusted": one.adjusted,
            "found": one.is_found,
        }
        for one in report.interactions
    ]
    if both:
        of_both = ("factor", "level", "other_factor", "other_level", "runs", "difference", "low")
        write_rows(both, folder / INTERACTIONS_FILE, of_both)
    ranked: list[dict[str, Any]] = [
        {
            **one.levels,
            "runs": one.runs,
            "mean": one.mean,
            "first": one.first,
            "minutes": one.minutes,
        }
        for one in report.ranked
    ]
    columns = (*report.study.factors, "runs", "mean", "first", "minutes")
    write_rows(ranked, folder / RANKING_FILE, columns)


def report_tables(report: StudyReport) -> Group:
    """Return the tables for the terminal."""
    table = Table(
        title=f"{report.count}, {report.images}",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1),
        show_edge=False,
    )
    table.add_column("level", overflow="fold", min_width=12)
    for head in ("runs", label_of(report.study.score), "95 %", "better by", "p", "minutes"):
        table.add_column(head, justify="right", no_wrap=True)
    by_level = {(one.factor, one.level): one for one in report.effects}
    last = None
    for one in report.levels:
        if last != one.factor:
            table.add_section()
            table.add_row(f"[bold]{escape(one.factor)}[/bold]")
            last = one.factor
        effect = by_level.get((one.factor, one.level))
        table.add_row(
            f"  {escape(one.level)}",
            str(one.runs),
            format_score(one.mean),
            format_interval(one.interval),
            "base" if effect is None else format_difference(effect.difference),
            "" if effect is None else format_p(effect.adjusted),
            f"{one.minutes:.1f}",
            style=_STYLES.get(effect.verdict, "") if effect else "",
        )
    return Group(table, "", escape(report.conclusion))
