"""The report of an evaluation: one page, openable from disk, with everything inside."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.charts import TITLES
from cytoloop.evaluation.figures.overlays import worst_first
from cytoloop.evaluation.metrics import HEADS
from cytoloop.io.html import data_uri, write_page

REPORT = "report.html"
MOST_ROWS = 1000
"""Images in the table of the page; all of them are in metrics.csv."""

_WIDEST = 1500
_COLUMNS = ("dice", "f1_50", "mean_ap", "seg", "surface_dice", "hd95", "n_truth", "n_predicted")
_ERRORS = ("merges", "splits", "missed", "spurious")


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
    folder = Path(folder)
    summary = evaluation.summary
    rows = [evaluation.rows[i] for i in worst_first(evaluation.rows)]
    return write_page(
        folder / REPORT,
        "cytoloop.evaluation.output",
        "report.html.jinja",
        name=folder.resolve().name,
        summary=summary,
        unscored={k.replace("_", " "): v for k, v in summary["unscored"].items() if v},
        scores=_score_table(summary),
        sizes=summary["recall_by_size"],
        people=summary.get("annotator2"),
        groups={g: {n: number(means.get(n)) for n in _COLUMNS} for g, means in _groups(summary)},
        charts={TITLES[path.stem]: picture(path) for path in charts},
        worst=[(row, picture(path)) for row, path in zip(rows, overlays, strict=False)],
        rows=[{"id": row["id"], "group": row["group"], **_cells(row)} for row in rows[:MOST_ROWS]],
        left_out=max(len(rows) - MOST_ROWS, 0),
        columns=[*_COLUMNS, *_ERRORS],
        heads=HEADS,
        number=number,
    )


def _groups(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the groups with their means, the one with the lowest F1 first."""
    return sorted(summary["groups"].items(), key=lambda item: item[1]["f1_50"])


def _score_table(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows of the table of scores."""
    means, pooled = summary["intervals"]["mean"], summary["intervals"]["pooled"]
    people = summary.get("annotator2", {})
    table = []
    for name, mean in summary["mean"].items():
        head = HEADS.get(name, name)
        if name == "hd95" and summary["unit"] != "mixed":
            head += f" ({summary['unit']})"
        table.append(
            {
                "head": head,
                "mean": number(mean),
                "mean_interval": _interval(means.get(name)),
                "pooled": number(summary["pooled"].get(name)),
                "pooled_interval": _interval(pooled.get(name)),
                "people": number(people.get("mean", {}).get(name)),
                "model": number(people.get("model", {}).get(name)),
            }
        )
    return table


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: number(row[name]) for name in (*_COLUMNS, *_ERRORS)}


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{number(bounds[0])} to {number(bounds[1])}" if bounds else ""


def number(value: float | None) -> str:
    """Return a score as text: three decimals, counts whole, "" where it is not defined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def picture(path: Path) -> str:
    """Return a PNG file as a ``data:`` URI, wide ones reduced."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > _WIDEST:
        size = (_WIDEST, round(image.height * _WIDEST / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=84, method=4)
    return data_uri(buffer.getvalue(), "image/webp")
