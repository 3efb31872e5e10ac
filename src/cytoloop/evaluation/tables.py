"""What an evaluation leaves: metrics.csv, summary.json, and a table on the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.atomic import replacing
from cytoloop.errors import OutputError
from cytoloop.evaluation.evaluate import SCORES, Evaluation
from cytoloop.manifest import write_manifest

_SHOWN = ("dice", "f1_50", "ap_50", "mean_ap", "seg")
_ERRORS = ("n_truth", "n_predicted", "merges", "splits", "missed", "spurious")
_HEADS = {"f1_50": "F1@.5", "ap_50": "AP@.5", "mean_ap": "mAP", "n_truth": "truth"} | {
    "n_predicted": "found",
    "seg": "SEG",
    "dice": "Dice",
    "spurious": "spur.",
}
_MOST_ROWS = 20


def write_tables(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write ``metrics.csv`` (a manifest with scores) and ``summary.json``; return their paths.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    table, summary = folder / "metrics.csv", folder / "summary.json"
    rows = [{k: _cell(v) for k, v in row.items()} for row in evaluation.rows]
    text = json.dumps(evaluation.summary, indent=2, allow_nan=False) + "\n"
    try:
        write_manifest(table, rows, ["id", "group", *SCORES, *_ERRORS])
        _write_text(summary, text)
    except OSError as error:
        raise OutputError(
            str(folder), f"cannot be written to: {error.strerror}", "Take another output folder."
        ) from error
    return [table, summary]


def _write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def summary_table(evaluation: Evaluation) -> Table:
    """Return the scores for the terminal: the worst images, their mean, and all pooled."""
    rows = sorted(evaluation.rows, key=lambda row: (row["f1_50"], row["dice"]))
    shown = rows[:_MOST_ROWS]
    title = f"{len(rows)} image(s)"
    if len(shown) < len(rows):
        title += f", the worst {len(shown)} shown"
    unscored = {name: len(ids) for name, ids in evaluation.summary["unscored"].items() if ids}
    caption = "; ".join(f"{n} {name.replace('_', ' ')}" for name, n in unscored.items())
    table = Table(
        title=title, caption=caption or None, caption_style="yellow", box=box.SIMPLE, padding=(0, 0)
    )
    table.add_column("image", overflow="fold", min_width=10)
    for name in (*_SHOWN, *_ERRORS):
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True, min_width=5)
    for row in shown:
        table.add_row(escape(str(row["id"])), *_numbers(row))
    table.add_section()
    table.add_row("mean", *_numbers(evaluation.summary["mean"]))
    for group, means in evaluation.summary["groups"].items():
        table.add_row(f"  {escape(group)}", *_numbers(means))
    table.add_row("pooled", *_numbers(evaluation.summary["pooled"]))
    return table


def _numbers(row: Mapping[str, Any]) -> list[str]:
    scores = [_number(row.get(name), 3) for name in _SHOWN]
    return scores + [_number(row.get(name), 0) for name in _ERRORS]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cell(value: Any) -> Any:
    """Return a value as a cell: floats short enough to read, undefined ones empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value
