"""Tables of an evaluation for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from cytoloop.evaluation.counts.objects import ERRORS
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.overlays import worst_first
from cytoloop.evaluation.leading import is_of_masks, leading_metrics
from cytoloop.evaluation.metrics import (
    METRICS,
    TERMINAL,
    VOXEL_SCORE,
    label_of,
)
from cytoloop.evaluation.output.text import format_interval, format_score, unscored_images

_COUNTS = {"n_truth": "truth", "n_predicted": "found", **{name: name for name in ERRORS}} | {
    "spurious": "spur."
}
"""Heading of each count in the table of images."""
_MAX_ROWS = 20


def terminal_tables(evaluation: Evaluation) -> Group:
    """Return the scores of an evaluation as two tables for the terminal."""
    if evaluation.classes:
        return Group(class_table(evaluation.summary), class_image_table(evaluation))
    return Group(image_table(evaluation), metric_table(evaluation.summary))


def image_table(evaluation: Evaluation) -> Table:
    """Return the main scores of the worst images, their mean, and all images pooled."""
    summary = evaluation.summary
    images = worst_first(evaluation)
    title = f"{len(images)} image(s)"
    if stacks := summary.get("planes_of_stacks"):
        title = f"{len(images)} images, planes of {len(stacks)} stack(s)"
    if len(images) > _MAX_ROWS:
        title += f", the worst {_MAX_ROWS} shown"
    caption = _caption(summary)
    table = Table(
        title=title, caption=caption, caption_style="yellow", box=box.SIMPLE, padding=(0, 0)
    )
    table.add_column("image", overflow="fold", min_width=11)
    metrics = leading_metrics(summary, TERMINAL)
    counted = {} if is_of_masks(summary) else _COUNTS
    for head in (*(metric.label for metric in metrics), *counted.values()):
        table.add_column(head, justify="right", no_wrap=True, min_width=5)

    def cells(row: Mapping[str, Any]) -> list[str]:
        counts = (row.get(name) for name in counted)
        return [format_score(row.get(metric.name)) for metric in metrics] + [
            "" if count is None or math.isnan(count) else f"{count:.0f}" for count in counts
        ]

    for image in images[:_MAX_ROWS]:
        table.add_row(escape(str(image.row["id"])), *cells(image.row))
    table.add_section()
    table.add_row("mean", *cells(summary["mean"]))
    intervals = summary["intervals"]["mean"]
    for end, label in enumerate((" 95 % low", " 95 % high")):
        if intervals:
            bounds = {name: both[end] for name, both in intervals.items() if both is not None}
            table.add_row(label, *cells(bounds), style="dim")
    for group, means in summary["groups"].items():
        table.add_row(f"  {escape(group)}", *cells(means))
    table.add_row("pooled", *cells(summary["pooled"]))
    if "annotator2" in summary:
        table.add_section()
        table.add_row("annotator 2", *cells(summary["annotator2"]["mean"]))
        table.add_row("  the model", *cells(summary["annotator2"]["model"]))
    return table


def metric_table(summary: Mapping[str, Any]) -> Table:
    """Return mean, interval and pooled value of the metrics without a column in `image_table`."""
    leading = {metric.name for metric in leading_metrics(summary, TERMINAL)}
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for head in ("score", "mean", "95 %", "pooled"):
        table.add_column(head, justify="left" if head == "score" else "right", no_wrap=True)
    for name, mean in summary["mean"].items():
        if name not in leading:
            table.add_row(
                METRICS[name].heading(summary["unit"]),
                format_score(mean),
                format_interval(summary["intervals"]["mean"].get(name)),
                format_score(summary["pooled"].get(name)),
            )
    return table


def class_table(summary: Mapping[str, Any]) -> Table:
    """Return the scores of each class, the mean of the classes first."""
    title = f"{summary['scored']} image(s)"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1))
    head, rows = class_rows(summary)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def class_rows(
    summary: Mapping[str, Any], unit: str = "mixed"
) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of the table of classes.

    Parameters
    ----------
    summary : mapping
    unit : str
        Shown behind metrics that are lengths; ``mixed`` shows none.
    """
    metrics = [metric for metric in METRICS.values() if metric.per_class]
    label = label_of(VOXEL_SCORE)
    head = ["class", *(m.heading(unit) for m in metrics), f"{label}, 95 %", f"pooled {label}"]
    rows = []
    for title, end in (("mean of classes", ""), *((c, f"_{c}") for c in summary["classes"])):
        main = f"{VOXEL_SCORE}{end}"
        rows.append(
            [
                title,
                *(format_score(summary["mean"].get(f"{m.name}{end}")) for m in metrics),
                format_interval(summary["intervals"]["mean"].get(main)),
                format_score(summary["pooled"].get(main)),
            ]
        )
    return head, rows


def class_image_table(evaluation: Evaluation) -> Table:
    """Return the Dice of the worst images: mean of the classes, and each class."""
    title = f"{label_of(VOXEL_SCORE)}, the worst images first"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1))
    table.add_column("image", overflow="fold")
    for name in ("mean", *evaluation.classes):
        table.add_column(escape(name), justify="right")
    for image in worst_first(evaluation)[:_MAX_ROWS]:
        values = class_scores(image.row, evaluation.classes)
        table.add_row(escape(str(image.row["id"])), *values)
    table.caption = _caption(evaluation.summary)
    return table


def class_scores(scores: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Return the Dice of an image or a group as text: mean of the classes, and each class."""
    names = (VOXEL_SCORE, *(f"{VOXEL_SCORE}_{name}" for name in classes))
    return [format_score(scores.get(name)) for name in names]


def _caption(summary: Mapping[str, Any]) -> str | None:
    """Return how many images were not scored and why, None where all were."""
    parts = [f"{len(ids)} {reason}" for reason, ids in unscored_images(summary).items()]
    if is_of_masks(summary):
        parts.append("every truth is a mask: scores of objects, below, are of connected pieces")
    if "annotator2" in summary:
        parts.append(f"annotator 2 on {len(summary['annotator2']['images'])} image(s)")
    return "; ".join(parts) or None
