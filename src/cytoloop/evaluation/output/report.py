"""Report of an evaluation: one HTML page that holds tables, charts and figures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.evaluation.counts.objects import ERRORS
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.charts import TITLES
from cytoloop.evaluation.figures.overlays import worst_first
from cytoloop.evaluation.leading import is_of_masks, leading_metrics, main_scores
from cytoloop.evaluation.metrics import (
    METRICS,
    REPORT,
    VOXEL_SCORE,
    label_of,
)
from cytoloop.evaluation.output.terminal import class_rows, class_scores
from cytoloop.evaluation.output.text import format_interval, format_score, unscored_images
from cytoloop.io.html import data_uri, write_page

REPORT_FILE = "report.html"
_MAX_ROWS = 1000
"""Images in the table of the page; metrics.csv has all of them."""
_MAX_WIDTH = 1500

HtmlTable = tuple[list[str], list[list[str]]]
"""Heading and rows."""


def write_report(
    evaluation: Evaluation, folder: str | Path, charts: Sequence[Path], overlays: Sequence[Path]
) -> Path:
    """Write ``report.html``; return its path.

    Parameters
    ----------
    evaluation : Evaluation
    folder : str or Path
    charts : sequence of Path
        PNG files of `cytoloop.evaluation.figures.charts.write_charts`.
    overlays : sequence of Path
        PNG files of `cytoloop.evaluation.figures.overlays.write_overlays`: the worst images first.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    folder, summary = Path(folder), evaluation.summary
    images = worst_first(evaluation)
    shown = [image.row for image in images[:_MAX_ROWS]]
    tables = _class_tables if evaluation.classes else _object_tables
    return write_page(
        folder / REPORT_FILE,
        "cytoloop.evaluation.output",
        "report.html.jinja",
        name=folder.resolve().name,
        summary=summary,
        classes=evaluation.classes,
        unscored=unscored_images(summary),
        undefined={label_of(name): count for name, count in summary["undefined"].items()},
        main_label=label_of(VOXEL_SCORE),
        is_of_masks=is_of_masks(summary),
        people=summary.get("annotator2"),
        tables=tables(summary, shown),
        descriptions={
            METRICS[name].label: METRICS[name].description
            for name in summary["mean"]
            if name in METRICS
        },
        charts={TITLES[path.stem]: embed_image(path) for path in charts},
        worst=[(i.row, embed_image(path)) for i, path in zip(images, overlays, strict=False)],
        left_out=max(len(images) - _MAX_ROWS, 0),
    )


def _object_tables(
    summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, HtmlTable]:
    """Return the tables of scores, groups, recall by size, and images."""
    metrics = leading_metrics(summary, REPORT)
    main = main_scores(summary)[0]
    names = [metric.name for metric in metrics]
    labels = [metric.label for metric in metrics]
    counts = [] if is_of_masks(summary) else ["n_truth", "n_predicted", *ERRORS]
    groups = sorted(summary["groups"].items(), key=lambda item: item[1][main])
    tables = {"scores": _score_table(summary)}
    if groups:
        cells = [[group, *_cells(means, names)] for group, means in groups]
        tables["groups"] = ["group", *labels], cells
    if summary["recall_by_size"]:
        tables["sizes"] = _size_table(summary["recall_by_size"])
    cells = [[row["id"], row["group"], *_cells(row, [*names, *counts])] for row in rows]
    tables["images"] = ["image", "group", *labels, *counts], cells
    return tables


def _score_table(summary: Mapping[str, Any]) -> HtmlTable:
    means, pooled = summary["intervals"]["mean"], summary["intervals"]["pooled"]
    people = summary.get("annotator2")
    head = ["score", "mean of images", "95 %", "pooled", "95 %"]
    rows = []
    for name, mean in summary["mean"].items():
        rows.append(
            [
                METRICS[name].heading(summary["unit"]),
                format_score(mean),
                format_interval(means.get(name)),
                format_score(summary["pooled"].get(name)),
                format_interval(pooled.get(name)),
            ]
        )
        if people:
            rows[-1] += [format_score(people[side].get(name)) for side in ("mean", "model")]
    return head + (["second annotator", "model, the same images"] if people else []), rows


def _size_table(sizes: Mapping[str, Any]) -> HtmlTable:
    head = [f"true volume ({sizes['unit']})", "objects", "found at IoU .5", "recall", "95 %"]
    rows = [
        [
            f"{one['from']:.4g} to {one['to']:.4g}",
            str(one["objects"]),
            str(one["found"]),
            format_score(one["recall"]),
            format_interval(one["interval"]),
        ]
        for one in sizes["quartiles"]
    ]
    return head, rows


def _class_tables(
    summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, HtmlTable]:
    """Return the tables of scores, groups, and images."""
    classes = summary["classes"]
    tables = {"scores": class_rows(summary, summary["unit"])}
    if summary["groups"]:
        cells = [[name, *class_scores(means, classes)] for name, means in summary["groups"].items()]
        tables["groups"] = ["group", "mean", *classes], cells
    cells = [[row["id"], row["group"], *class_scores(row, classes)] for row in rows]
    tables["images"] = ["image", "group", "mean", *classes], cells
    return tables


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [format_score(row.get(name)) for name in names]


def embed_image(path: Path) -> str:
    """Return a PNG file as a ``data:`` URI (WebP), reduced to 1500 pixels in width."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > _MAX_WIDTH:
        size = (_MAX_WIDTH, round(image.height * _MAX_WIDTH / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=84, method=4)
    return data_uri(buffer.getvalue(), "image/webp")
