"""Tables of registered models for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.tracking.registry import COMPARED_WITH, VERDICT, Version

_VERDICTS = ("better", "worse", "no evidence", "first", "forced")
_MAIN_SCORES = {"test/f1_50": "f1_50", "test/dice": "dice", "val/dice": "val dice"}


def versions_table(versions: Sequence[Version]) -> Table:
    """Return a table with a row for each version: alias, scores, data set and verdict."""
    scores = [score for score in _MAIN_SCORES if any(score in one.scores for one in versions)]
    table = Table(
        box=box.SIMPLE, padding=(0, 1, 0, 0), title="registered models", title_justify="left"
    )
    table.add_column("model", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("alias", style="bold green", min_width=8)
    for score in scores:
        table.add_column(_MAIN_SCORES[score], justify="right", no_wrap=True)
    for head in ("data", "made", "verdict"):
        table.add_column(head, no_wrap=True)
    for one in versions:
        table.add_row(
            escape(one.name),
            str(one.number),
            ", ".join(one.aliases),
            *(f"{one.scores[s]:.3f}" if s in one.scores else "" for s in scores),
            one.tags.get("cytoloop.data_hash", "")[:8],
            f"{one.created:%Y-%m-%d}",
            _short_verdict(one.tags.get(VERDICT, "")),
        )
    return table


def version_details_table(version: Version) -> Table:
    """Return a table with all facts, tags and scores of one version."""
    table = Table(
        box=box.SIMPLE, padding=(0, 1), show_header=False, title=version.uri, title_justify="left"
    )
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    rows = {
        "alias": ", ".join(version.aliases),
        "made": f"{version.created:%Y-%m-%d %H:%M} UTC",
        "run": f"runs:/{version.run_id}" if version.run_id else "",
        "files": version.source,
        "verdict": version.tags.get(VERDICT, ""),
        "compared with": version.tags.get(COMPARED_WITH, ""),
    }
    rows |= {
        name.removeprefix("cytoloop."): value
        for name, value in sorted(version.tags.items())
        if name not in (VERDICT, COMPARED_WITH)
    }
    rows |= {name: f"{value:.4f}" for name, value in sorted(version.scores.items())}
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(value))
    return table


def _short_verdict(verdict: str) -> str:
    """Return the verdict without its reason; `version_details_table` shows the reason."""
    return next((word for word in _VERDICTS if verdict.startswith(word)), "")
