"""What an evaluation leaves: metrics.csv, objects.csv, summary.json, a table on the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.errors import OutputError
from cytoloop.evaluation.counts.object_table import COLUMNS, object_rows
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.overlays import worst_first
from cytoloop.evaluation.metrics import HEADS, SCORES
from cytoloop.evaluation.size_recall import QUARTILES
from cytoloop.io.atomic import replacing
from cytoloop.manifest import write_manifest

_SHOWN = ("dice", "f1_50", "ap_50", "mean_ap", "seg")
_ERRORS = ("n_truth", "n_predicted", "merges", "splits", "missed", "spurious")
_SHORT = HEADS | {"n_truth": "truth", "n_predicted": "found", "spurious": "spur."}
_FIRST = (
    *("id", "group"),
    *SCORES,
    *(f"recall_{name}" for name in QUARTILES),
    *("unit", "tp_50", "fp_50", "fn_50"),
    *_ERRORS,
)
_MOST_ROWS = 20


def write_tables(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write ``metrics.csv`` (a manifest with scores), ``objects.csv`` and ``summary.json``.

    Returns
    -------
    list of Path
        The three files.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    each = object_rows(evaluation.rows, evaluation.objects, evaluation.voxels_um3)
    return [
        write_rows(evaluation.rows, folder / "metrics.csv", _FIRST),
        write_rows(each, folder / "objects.csv", COLUMNS),
        write_summary(evaluation.summary, folder / "summary.json"),
    ]


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> Path:
    """Write a table, these columns first; return its path.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    with _written(path):
        write_manifest(path, [{k: _cell(v) for k, v in row.items()} for row in rows], columns)
    return path


def write_summary(summary: Mapping[str, Any], path: Path) -> Path:
    """Write a summary as JSON; return its path.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    with _written(path), replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = f"cannot be written to: {error.strerror}"
        raise OutputError(str(path.parent), found, "Take another output folder.") from error


def summary_table(evaluation: Evaluation) -> Table:
    """Return the scores for the terminal: the worst images, their mean, and all pooled."""
    rows = [evaluation.rows[i] for i in worst_first(evaluation.rows)]
    summary = evaluation.summary
    shown = rows[:_MOST_ROWS]
    title = f"{len(rows)} image(s)"
    if len(shown) < len(rows):
        title += f", the worst {len(shown)} shown"
    table = Table(
        title=title,
        caption=_caption(summary) or None,
        caption_style="yellow",
        box=box.SIMPLE,
        padding=(0, 0),
    )
    table.add_column("image", overflow="fold", min_width=11)
    for name in (*_SHOWN, *_ERRORS):
        table.add_column(_SHORT.get(name, name), justify="right", no_wrap=True, min_width=5)
    for row in shown:
        table.add_row(escape(str(row["id"])), *_numbers(row))
    table.add_section()
    table.add_row("mean", *_numbers(summary["mean"]))
    intervals = summary["intervals"]["mean"]
    for place, label in enumerate((" 95 % low", " 95 % high")):
        if intervals:
            ends = {k: v[place] for k, v in intervals.items() if v is not None}
            table.add_row(label, *_numbers(ends), style="dim")
    for group, means in summary["groups"].items():
        table.add_row(f"  {escape(group)}", *_numbers(means))
    table.add_row("pooled", *_numbers(summary["pooled"]))
    if "annotator2" in summary:
        people = summary["annotator2"]
        table.add_section()
        table.add_row("annotator 2", *_numbers(people["mean"]))
        table.add_row("  the model", *_numbers(people["model"]))
    return table


def more_scores(evaluation: Evaluation) -> Table:
    """Return the scores that have no column in `summary_table`: mean, interval, pooled."""
    summary = evaluation.summary
    unit = summary["unit"]
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for head in ("score", "mean", "95 %", "pooled"):
        table.add_column(head, justify="left" if head == "score" else "right", no_wrap=True)
    for name, value in summary["mean"].items():
        if name not in _SHOWN:
            head = HEADS.get(name, name)
            if name == "hd95" and unit != "mixed":
                head += f" ({unit})"
            table.add_row(
                head,
                _number(value, 3),
                show_interval(summary["intervals"]["mean"].get(name)),
                _number(summary["pooled"].get(name), 3),
            )
    return table


def show_interval(bounds: list[float] | None) -> str:
    """Return an interval as people read it, "" for none."""
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _caption(summary: Mapping[str, Any]) -> str:
    """Return what was not scored."""
    unscored = {name: len(ids) for name, ids in summary["unscored"].items() if ids}
    told = [f"{n} {name.replace('_', ' ')}" for name, n in unscored.items()]
    if "annotator2" in summary:
        told.append(f"annotator 2 on {len(summary['annotator2']['images'])} image(s)")
    return "; ".join(told)


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
