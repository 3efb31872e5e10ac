"""The registry on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from cytoloop.tracking.registry import AGAINST, VERDICT, Version

_MAIN = ("test/f1_50", "test/dice", "val/dice")


def versions_table(versions: Sequence[Version]) -> Table:
    """Return a row for each version: alias, scores, data, run and verdict."""
    shown = [score for score in _MAIN if any(score in one.scores for one in versions)]
    table = Table(box=box.SIMPLE, padding=(0, 1), title="registered models", title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("alias", style="bold green")
    for score in shown:
        table.add_column(score, justify="right")
    for head in ("data", "run", "made"):
        table.add_column(head, no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for one in versions:
        table.add_row(
            escape(one.name),
            str(one.number),
            ", ".join(one.aliases),
            *(f"{one.scores[s]:.3f}" if s in one.scores else "" for s in shown),
            one.tags.get("cytoloop.data_hash", "")[:8],
            (one.run_id or "")[:8],
            f"{one.created:%Y-%m-%d %H:%M}",
            escape(one.tags.get(VERDICT, "").partition(";")[0]),
        )
    return table


def version_table(version: Version) -> Table:
    """Return everything that is known of a version."""
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
        "against": version.tags.get(AGAINST, ""),
    }
    rows |= {
        name.removeprefix("cytoloop."): value
        for name, value in sorted(version.tags.items())
        if name not in (VERDICT, AGAINST)
    }
    rows |= {name: f"{value:.4f}" for name, value in sorted(version.scores.items())}
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(value))
    return table
