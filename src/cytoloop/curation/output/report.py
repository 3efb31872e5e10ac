"""The report: one HTML page with the images in the order of review."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.curation.checks.quality_limits import Limit
from cytoloop.curation.file_names import REPORT_HTML
from cytoloop.curation.output.result import CurationResult
from cytoloop.curation.output.thumbnails import thumbnail
from cytoloop.errors import CytoloopError
from cytoloop.io.html import write_page
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.regions import box_rules

log = logging.getLogger(__name__)

MAX_PICTURES = 300
"""Largest number of rows with a picture. The page stays below about 10 MB."""

_SHOWN_METRICS = (
    *("objects", "foreground", "contrast", "focus", "saturated", "similarity"),
    *("disagreement", "uncertainty"),
)


def write_report(
    output: Path,
    result: CurationResult,
    limits: Mapping[str, Limit],
    predictions: str | Path | None = None,
) -> Path:
    """Write ``report.html`` of a data set; return its path.

    The page contains its pictures, so it can be sent as one file. Ranked rows come first, then
    rows that a curator rejected.

    Parameters
    ----------
    output : Path
        Folder of the data set.
    result : CurationResult
    limits : mapping of str to Limit
        Limits of the quality metrics.
    predictions : str or Path, optional
        ``predictions.csv``, to draw the outlines of predicted objects.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    rows = {row.id: row for row in result.rows}
    ranked = {one.id: one for one in result.ranking}
    order = [*ranked, *(row_id for row_id in rows if row_id not in ranked)]
    predicted = _predicted_labels(predictions)
    cards = []
    for number, row_id in enumerate(order):
        picture, error_text = "", ""
        if number < MAX_PICTURES:
            try:
                picture = thumbnail(rows[row_id], predicted.get(row_id))
            except (CytoloopError, OSError, ValueError) as error:
                error_text = str(getattr(error, "problems", [error])[0])
        check = result.checks.get(row_id)
        metrics = check.metrics if check else {}
        cards.append(
            {
                "row": rows[row_id],
                "ranked": ranked.get(row_id),
                "picture": picture,
                "error": error_text,
                "shape": check.shape if check else None,
                "metrics": {k: f"{metrics[k]:.3g}" for k in _SHOWN_METRICS if k in metrics},
            }
        )
    return write_page(
        output / REPORT_HTML,
        "cytoloop.curation.output",
        "report.html.jinja",
        name=output.resolve().name,
        cards=cards,
        counts=result.counts,
        splits=_split_table(result.rows),
        parts=[row.id for row in result.rows if box_rules(row["exclude"])],
        limits=limits,
        unmatched=result.unmatched,
        max_pictures=MAX_PICTURES,
        predicted=bool(predicted),
    )


def _predicted_labels(predictions: str | Path | None) -> dict[str, Path]:
    """Return the predicted labels or mask of each row id."""
    if predictions is None:
        return {}
    found = {}
    for row in read_manifest(predictions, ("id",)):
        column = "labels" if row["labels"] else "mask"
        path = row.file(column)
        if path is not None:
            found[row.id] = path
    return found


def _split_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the images and groups of each split and of the rejected rows."""
    table = []
    for name in ("train", "valid", "test", "rejected"):
        chosen = [
            row
            for row in rows
            if (row["status"] == "reject") == (name == "rejected")
            and (name == "rejected" or row["split"] == name)
        ]
        groups = sorted({row["group"] for row in chosen})
        table.append({"name": name, "images": len(chosen), "groups": groups})
    return table
