"""What a comparison leaves: comparison.json, comparison.csv, report.html, a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.errors import OutputError
from cytoloop.evaluation.comparison.compare import BETTER, WORSE, Comparison
from cytoloop.evaluation.metrics import HEADS
from cytoloop.evaluation.output.report import number, picture
from cytoloop.io.atomic import replacing
from cytoloop.io.html import write_page
from cytoloop.manifest import write_manifest

_STYLES = {BETTER: "bold green", WORSE: "bold red"}
_MOST = 10


def write_comparison(
    comparisons: Sequence[Comparison],
    folder: str | Path,
    pictures: Mapping[str, Sequence[tuple[str, Path]]],
) -> list[Path]:
    """Write ``comparison.json``, ``comparison.csv`` and ``report.html``; return their paths.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Of the first evaluation with each other one.
    folder : str or Path
    pictures : mapping
        Name of the second evaluation to (image, PNG file) of the images that changed most.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    facts = [as_json(one) for one in comparisons]
    data, table = folder / "comparison.json", folder / "comparison.csv"
    try:
        with replacing(data) as temporary:
            text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
            temporary.write_text(text, encoding="utf-8")
        write_manifest(table, _rows(comparisons), ("id", "group", "score"))
    except OSError as error:
        raise OutputError(
            str(folder), f"cannot be written to: {error.strerror}", "Take another output folder."
        ) from error
    shown = {
        name: [(image, picture(path)) for image, path in some] for name, some in pictures.items()
    }
    report = write_page(
        folder / "report.html",
        "cytoloop.evaluation.comparison",
        "report.html.jinja",
        comparisons=comparisons,
        pictures=shown,
        heads=HEADS,
        number=number,
        signed=_signed,
    )
    return [data, table, report]


def as_json(one: Comparison) -> dict[str, Any]:
    """Return a comparison as it is written down."""
    return {
        one.first.name: one.first.source,
        one.second.name: one.second.source,
        "verdict": f"{one.second.name} is {one.verdict}" if one.verdict in _STYLES else one.verdict,
        "reason": one.reason,
        "main_score": one.main,
        "resampled": one.unit,
        "units": one.units,
        "images": len(one.shared.images),
        "not_compared": {
            f"only_in_{one.first.name}": one.shared.only_first,
            f"only_in_{one.second.name}": one.shared.only_second,
            "another_truth": one.shared.other_truth,
        },
        "scores": {
            name: {
                one.first.name: score["first"],
                one.second.name: score["second"],
                **{k: v for k, v in score.items() if k not in ("first", "second")},
            }
            for name, score in one.scores.items()
        },
        "groups": one.groups,
        "images_that_got_worse": [{"id": n, "difference": change} for n, change in one.worse],
    }


def _rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return a row for each image and evaluations: the main score of both."""
    return [
        {
            "id": image,
            "group": one.first.rows[image]["group"],
            "score": one.main,
            "first": one.first.name,
            "second": one.second.name,
            "of_first": one.first.value(image, one.main),
            "of_second": one.second.value(image, one.main),
            "difference": round(change, 6),
        }
        for one in comparisons
        for image, change in one.changes
    ]


def comparison_table(one: Comparison) -> Table:
    """Return the scores side by side for the terminal, the verdict below."""
    names = one.first.name, one.second.name
    table = Table(
        title=f"{len(one.shared.images)} images, {names[1]} against {names[0]}",
        caption=_caption(one),
        caption_style=_STYLES.get(one.verdict, "bold yellow"),
        box=box.SIMPLE,
        padding=(0, 0),
    )
    table.add_column("score", overflow="fold", min_width=14)
    for head in (*map(escape, names), "better by", "95 %", "p", "images"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, score in one.scores.items():
        style = "bold" if name == one.main else ""
        bounds = score["interval"]
        table.add_row(
            HEADS.get(name, name),
            number(score["first"]),
            number(score["second"]),
            _signed(score["difference"]),
            f"{_signed(bounds[0])} to {_signed(bounds[1])}" if bounds else "",
            _p(score["p_value"]),
            str(score["images"]),
            style=style,
        )
    head = HEADS.get(one.main, one.main)
    if len(one.groups) > 1:
        table.add_section()
        for group, facts in one.groups.items():
            change = _signed(facts["difference"][one.main])
            table.add_row(f"{head} {escape(group)}", "", "", change, "", "", str(facts["images"]))
    if one.worse:
        table.add_section()
        for image, loss in one.worse[:_MOST]:
            values = (number(side.value(image, one.main)) for side in (one.first, one.second))
            table.add_row(f"worse: {escape(image)}", *values, _signed(loss))
        if len(one.worse) > _MOST:
            table.add_row(f"and {len(one.worse) - _MOST} more worse images")
    return table


def _caption(one: Comparison) -> str:
    """Return the verdict, why, and what was not compared."""
    left_out = {
        f"only in {one.first.name}": one.shared.only_first,
        f"only in {one.second.name}": one.shared.only_second,
        "with another truth": one.shared.other_truth,
    }
    told = "; ".join(f"{len(ids)} images {why}" for why, ids in left_out.items() if ids)
    verdict = f"{one.second.name} is {one.verdict}" if one.verdict in _STYLES else one.verdict
    return escape(f"{verdict}: {one.reason}" + (f"\nnot compared: {told}" if told else ""))


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
