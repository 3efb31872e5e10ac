"""The report of an evaluation of classes: one page with everything inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cytoloop.evaluation.classes.evaluate import ClassEvaluation
from cytoloop.evaluation.classes.output import class_rows, number, worst_first
from cytoloop.evaluation.classes.score import SCORES
from cytoloop.evaluation.metrics import HEADS
from cytoloop.evaluation.output.report import MOST_ROWS, REPORT, picture
from cytoloop.io.html import write_page


def write_class_report(
    evaluation: ClassEvaluation, folder: str | Path, pictures: Sequence[Path]
) -> Path:
    """Write ``report.html``; return its path.

    Parameters
    ----------
    evaluation : ClassEvaluation
    folder : str or Path
    pictures : sequence of Path
        PNG files of `write_class_pictures`: the worst images first.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    folder, summary = Path(folder), evaluation.summary
    rows = [evaluation.rows[i] for i in worst_first(evaluation)]
    each = [f"dice_{name}" for name in summary["classes"]]
    unit = "" if summary["unit"] == "mixed" else f" ({summary['unit']})"
    heads = {score: HEADS.get(score, score) for score in SCORES}
    return write_page(
        folder / REPORT,
        "cytoloop.evaluation.classes",
        "report.html.jinja",
        name=folder.resolve().name,
        summary=summary,
        unscored={k.replace("_", " "): v for k, v in summary["unscored"].items() if v},
        scores=class_rows(summary),
        heads={**heads, "hd95": f"{heads['hd95']}{unit}"},
        groups={
            group: [number(means.get(score)) for score in ("dice", *each)]
            for group, means in summary["groups"].items()
        },
        worst=[(row["id"], picture(path)) for row, path in zip(rows, pictures, strict=False)],
        rows=[
            (row["id"], row["group"], [number(row[score]) for score in ("dice", *each)])
            for row in rows[:MOST_ROWS]
        ],
        left_out=max(len(rows) - MOST_ROWS, 0),
    )
