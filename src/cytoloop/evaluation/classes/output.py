"""What an evaluation of classes leaves: metrics.csv, summary.json, a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from cytoloop.evaluation.classes.evaluate import ClassEvaluation
from cytoloop.evaluation.classes.score import COUNTS, SCORES
from cytoloop.evaluation.metrics import HEADS
from cytoloop.evaluation.output.tables import show_interval, write_rows, write_summary

MEAN = "mean of classes"
_MOST_ROWS = 20


def write_class_tables(evaluation: ClassEvaluation, folder: str | Path) -> list[Path]:
    """Write ``metrics.csv`` (a manifest with scores) and ``summary.json``; return both.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    names = evaluation.summary["classes"]
    each = [f"{one}_{name}" for name in names for one in (*SCORES, *COUNTS)]
    columns = ("id", "group", *SCORES, *each, "unit", "classes")
    return [
        write_rows(evaluation.rows, Path(folder) / "metrics.csv", columns),
        write_summary(evaluation.summary, Path(folder) / "summary.json"),
    ]


def class_rows(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each class, and first that of their mean: its scores as people read them."""
    means, pooled = summary["mean"], summary["pooled"]
    found = []
    for name in (None, *summary["classes"]):
        end = "" if name is None else f"_{name}"
        bounds = summary["intervals"]["mean"].get(f"dice{end}")
        cells = {score: number(means.get(f"{score}{end}")) for score in SCORES}
        pool = number(pooled.get(f"dice{end}"))
        found.append(
            {"class": name or MEAN, **cells, "interval": show_interval(bounds), "pooled": pool}
        )
    return found


def class_table(evaluation: ClassEvaluation) -> Group:
    """Return the scores for the terminal: those of the classes, then the worst images."""
    summary = evaluation.summary
    table = Table(title=f"{len(evaluation.rows)} image(s)", box=box.SIMPLE, padding=(0, 1))
    table.add_column("class")
    heads = [HEADS.get(score, score) for score in SCORES]
    for head in (*heads, "Dice 95 %", "pooled Dice"):
        table.add_column(head, justify="right")
    for row in class_rows(summary):
        table.add_row(escape(row["class"]), *(row[key] for key in (*SCORES, "interval", "pooled")))
    worst = [evaluation.rows[i] for i in worst_first(evaluation)][:_MOST_ROWS]
    images = Table(title="Dice, the worst images first", box=box.SIMPLE, padding=(0, 1))
    images.add_column("image", overflow="fold")
    for name in ("mean", *summary["classes"]):
        images.add_column(escape(name), justify="right")
    for one in worst:
        values = [one["dice"], *(one[f"dice_{name}"] for name in summary["classes"])]
        images.add_row(escape(str(one["id"])), *map(number, values))
    unscored = [f"{len(v)} {k.replace('_', ' ')}" for k, v in summary["unscored"].items() if v]
    images.caption = "; ".join(unscored) or None
    return Group(table, images)


def worst_first(evaluation: ClassEvaluation) -> list[int]:
    """Return the places of the images in the order of their Dice; those without one come last."""
    rows = evaluation.rows
    return sorted(range(len(rows)), key=lambda i: (math.isnan(rows[i]["dice"]), rows[i]["dice"]))


def number(value: float | None) -> str:
    """Return a score with three decimals, "" where it is not defined."""
    return "" if value is None or math.isnan(value) else f"{value:.3f}"
