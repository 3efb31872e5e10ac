"""The report: one page, openable from disk, with the images to look at first."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.curation.checks.quality_limits import Limit
from cytoloop.curation.output.thumbnails import thumbnail
from cytoloop.curation.output.write import Dataset
from cytoloop.errors import CytoloopError
from cytoloop.io.html import write_page
from cytoloop.manifest import Row, read_manifest

log = logging.getLogger(__name__)

REPORT = "report.html"
PICTURES = 300
"""Rows shown with a picture; the page stays below about 10 MB."""

_SHOWN = (
    *("objects", "foreground", "contrast", "focus", "saturated", "similarity"),
    *("disagreement", "uncertainty"),
)


def write_report(
    output: Path,
    dataset: Dataset,
    limits: Mapping[str, Limit],
    predictions: str | Path | None = None,
) -> Path:
    """Write ``report.html`` of a data set; return its path.

    Everything is inside the file: it can be mailed. Rows come in the order of the ranking, then
    those that were rejected by hand.

    Parameters
    ----------
    output : Path
        Folder of the data set.
    dataset : Dataset
    limits : mapping of str to Limit
    predictions : str or Path, optional
        ``predictions.csv``, for the outlines of what a model found.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    rows, facts, ranking = dataset.rows, dataset.facts, dataset.ranking
    by_id = {row.id: row for row in rows}
    ranked = {one.id: one for one in ranking}
    order = [*ranked, *(row.id for row in rows if row.id not in ranked)]
    guesses = _guesses(predictions)
    cards = []
    for number, name in enumerate(order):
        picture, trouble = "", ""
        if number < PICTURES:
            try:
                picture = thumbnail(by_id[name], guesses.get(name))
            except (CytoloopError, OSError, ValueError) as error:
                trouble = str(getattr(error, "problems", [error])[0])
        figures = facts[name].figures if name in facts else {}
        cards.append(
            {
                "row": by_id[name],
                "ranked": ranked.get(name),
                "picture": picture,
                "trouble": trouble,
                "shape": facts[name].shape if name in facts else None,
                "figures": {k: f"{figures[k]:.3g}" for k in _SHOWN if k in figures},
            }
        )
    return write_page(
        output / REPORT,
        "cytoloop.curation.output",
        "report.html.jinja",
        name=output.resolve().name,
        cards=cards,
        counts=dataset.counts,
        splits=_split_table(rows),
        limits=limits,
        unmatched=dataset.unmatched,
        pictures=PICTURES,
        predicted=bool(guesses),
    )


def _guesses(predictions: str | Path | None) -> dict[str, Path]:
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
    """Return the images and groups of each split, and the rejected ones."""
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
