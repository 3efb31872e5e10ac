"""Output of a comparison: comparison.json, comparison.csv, report.html, a terminal table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.evaluation.comparison.compare import BETTER, NO_EVIDENCE, WORSE, Comparison
from cytoloop.evaluation.metrics import label_of
from cytoloop.evaluation.output.files import OVERLAYS, remove_files
from cytoloop.evaluation.output.report import REPORT_FILE, embed_image
from cytoloop.evaluation.output.tables import write_json, write_rows
from cytoloop.evaluation.output.text import format_difference, format_p, format_score
from cytoloop.io.html import write_page

JSON_FILE, TABLE_FILE = "comparison.json", "comparison.csv"
_STYLES = {BETTER: "bold green", WORSE: "bold red", NO_EVIDENCE: "bold yellow"}
_MAX_ROWS = 10


def write_comparison(
    comparisons: Sequence[Comparison],
    folder: str | Path,
    overlays: Mapping[str, Sequence[tuple[str, Path]]],
) -> list[Path]:
    """Write ``comparison.json``, ``comparison.csv`` and ``report.html``; return their paths.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Of the first evaluation with each other evaluation.
    folder : str or Path
    overlays : mapping
        Name of the second evaluation to (image, PNG file) of the images that changed most.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    return [
        write_json([as_json(one) for one in comparisons], folder / JSON_FILE),
        write_rows(_rows(comparisons), folder / TABLE_FILE, ("id", "group", "score")),
        write_page(
            folder / REPORT_FILE,
            "cytoloop.evaluation.comparison",
            "report.html.jinja",
            comparisons=comparisons,
            overlays={
                name: [(image, embed_image(path)) for image, path in drawn]
                for name, drawn in overlays.items()
            },
            label_of=label_of,
            format_score=format_score,
            format_difference=format_difference,
            interval=_interval,
            p_value=format_p,
        ),
    ]


def remove_comparison(folder: str | Path) -> None:
    """Remove the files that a former comparison wrote into a folder, and no other files.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    # b_01_NAME.png, more1_01_NAME.png, of 100 images and more b_100_NAME.png
    overlays = [
        f"{OVERLAYS}/{name}_{number}_*.png"
        for name in ("b", "more[0-9]", "more[0-9][0-9]")
        for number in ("[0-9]" * 2, "[0-9]" * 3)
    ]
    remove_files(Path(folder), (JSON_FILE, TABLE_FILE, REPORT_FILE, *overlays))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the content of ``comparison.json`` for one comparison."""
    first, second, shared = comparison.first, comparison.second, comparison.shared
    return {
        first.name: first.source,
        second.name: second.source,
        "verdict": comparison.conclusion,
        "reason": comparison.reason,
        "main_score": comparison.main,
        "resampled": comparison.unit,
        "units": comparison.units,
        "images": len(shared.images),
        "not_compared": {
            f"only_in_{first.name}": shared.only_first,
            f"only_in_{second.name}": shared.only_second,
            "another_truth": shared.other_truth,
            "same_image_as_another": shared.duplicates,
        },
        "scores": {
            name: {
                first.name: score["first"],
                second.name: score["second"],
                **{k: v for k, v in score.items() if k not in ("first", "second")},
            }
            for name, score in comparison.scores.items()
        },
        "groups": comparison.groups,
        "images_that_got_worse": [
            {"id": name, "difference": change} for name, change in comparison.worse
        ],
    }


def _rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the rows of ``comparison.csv``: the main score of each image in both evaluations."""
    return [
        {
            "id": image,
            "group": one.first.rows[image]["group"],
            "score": one.main,
            "first": one.first.name,
            "second": one.second.name,
            "of_first": one.first.value(image, one.main),
            "of_second": one.second.value(image, one.main),
            "difference": change,
        }
        for one in comparisons
        for image, change in one.changes
    ]


def comparison_table(comparison: Comparison) -> Table:
    """Return the scores side by side for the terminal, with the verdict below."""
    first, second, main = comparison.first, comparison.second, comparison.main
    table = Table(
        title=f"{len(comparison.shared.images)} images, {second.name} against {first.name}",
        caption=_caption(comparison),
        caption_style=_STYLES[comparison.verdict],
        box=box.SIMPLE,
        padding=(0, 0),
    )
    table.add_column("score", overflow="fold", min_width=14)
    for head in (escape(first.name), escape(second.name), "better by", "95 %", "p", "images"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, score in comparison.scores.items():
        table.add_row(
            label_of(name),
            format_score(score["first"]),
            format_score(score["second"]),
            format_difference(score["difference"]),
            _interval(score["interval"]),
            format_p(score["p_value"]),
            str(score["images"]),
            style="bold" if name == main else "",
        )
    if len(comparison.groups) > 1:
        table.add_section()
        for group, own in comparison.groups.items():
            label, change = f"{label_of(main)} {escape(group)}", own["difference"][main]
            table.add_row(label, "", "", format_difference(change), "", "", str(own["images"]))
    if comparison.worse:
        table.add_section()
        for image, loss in comparison.worse[:_MAX_ROWS]:
            values = (format_score(side.value(image, main)) for side in (first, second))
            table.add_row(f"worse: {escape(image)}", *values, format_difference(loss))
        if len(comparison.worse) > _MAX_ROWS:
            table.add_row(f"and {len(comparison.worse) - _MAX_ROWS} more worse images")
    return table


def _caption(comparison: Comparison) -> str:
    """Return the verdict, its reason, and the number of images that were not compared."""
    parts = [f"{len(ids)} images {reason}" for reason, ids in comparison.not_compared.items()]
    text = f"{comparison.conclusion}: {comparison.reason}"
    return escape(text + (f"\nnot compared: {'; '.join(parts)}" if parts else ""))


def _interval(bounds: Sequence[float] | None) -> str:
    return " to ".join(map(format_difference, bounds)) if bounds else ""
