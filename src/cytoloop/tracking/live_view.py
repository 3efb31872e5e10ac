"""Trainings on the terminal: a table of all, a live view of one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cytoloop.terminal import stderr_console
from cytoloop.tracking.run_status import RunStatus

log = logging.getLogger(__name__)

_STYLES = {"running": "bold green", "finished": "", "stopped": "yellow", "ended": "dim"}
_SHOWN = 8  # validations in the live view
_FIRST = ("dice", "f1_50", "ap_50", "seg", "pq", "iou", "loss")
"""Scores in the order in which they get a column, as far as the terminal is wide."""
_TESTED = ("test/dice", "test/f1_50", "test/seg")


def trainings_table(found: Sequence[RunStatus]) -> Table:
    """Return a row for each training."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("training", "run", "state", "epoch", "step", "loss", "best", "left"):
        left = head in ("training", "run", "state")
        table.add_column(head, justify="left" if left else "right", no_wrap=head != "training")
    table.columns[0].overflow, table.columns[0].min_width = "fold", 12
    for one in found:
        best = one.best()
        table.add_row(
            _shown_folder(one.folder),
            one.run_id[:8],
            Text(one.state, style=_STYLES[one.state]),
            str(one.epochs or ""),
            str(one.last.get("step", "")),
            "" if math.isnan(one.loss) else f"{one.loss:.3f}",
            "" if best is None else f"{best:.4f}",
            _left(one)
            if one.holder
            else datetime.fromtimestamp(one.changed).strftime("%m-%d %H:%M"),
        )
    return table


def watch_training(one: RunStatus, every: float = 1.0) -> None:
    """Show one training until it ends: redrawn on a terminal, else a line for each validation.

    Parameters
    ----------
    one : RunStatus
    every : float
        Seconds between two looks.
    """
    told = len(one.validations)
    with Live(
        render_status(one, stderr_console.width),
        console=stderr_console,
        auto_refresh=False,
        transient=False,
    ) as live:
        while one.update().holder is not None:
            if stderr_console.is_terminal:
                live.update(render_status(one, stderr_console.width), refresh=True)
            else:
                for line in one.validations[told:]:
                    log.info("%s", format_validation(line))
                told = len(one.validations)
            time.sleep(every)
        live.update(render_status(one, stderr_console.width), refresh=True)


def render_status(one: RunStatus, width: int) -> Group:
    """Return the live view: where, how far, the losses and scores of the last validations.

    Parameters
    ----------
    one : RunStatus
    width : int
        Columns of the terminal.
    """
    last = one.last
    head = Text.assemble(
        (_shown_folder(one.folder), "bold"),
        f"  run {one.run_id[:8]}  " if one.run_id else "  ",
        (one.state, _STYLES[one.state]),
        f" (process {one.holder.pid})" if one.holder else "",
    )
    # what matters most comes first: a narrow terminal cuts the line off
    facts = [left] if one.holder and (left := _left(one)) else []
    facts += [f"epoch {one.epochs}", f"step {last['step']}"] if one.epochs is not None else []
    facts += [f"loss {one.loss:.3f}"] if not math.isnan(one.loss) else []
    facts += [f"data wait {last['data_wait']:.0%}"] if last.get("data_wait") is not None else []
    bar = Table.grid(padding=(0, 2))
    told = Text("  ".join(facts), no_wrap=True, overflow="ellipsis")
    bar.add_row(ProgressBar(total=1.0, completed=float(last.get("spent") or 0.0), width=20), told)
    parts: list[RenderableType] = [head, bar]
    if one.validations:
        parts.append(_scores_table(one.validations[-_SHOWN:], width))
    if scores := one.final:
        shown = [name for name in scores if not name.startswith("test/") or name in _TESTED]
        parts.append("final  " + "  ".join(f"{name} {scores[name]:.4f}" for name in shown))
    if one.holder:
        parts.append("")  # the ^C of who stops watching gets a line of its own
    return Group(*parts)


def _scores_table(lines: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return the scores of validations, as many as have room side by side."""
    names = {name: name.removeprefix("val/") for line in lines for name in line["scores"]}
    rank = {name: number for number, name in enumerate(_FIRST)}
    order = sorted(names, key=lambda name: (rank.get(names[name], len(rank)), name))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("epoch", "step"):
        table.add_column(name, justify="right", min_width=6)
    room = width - 2 * 8
    shown: list[str] = []
    for name in order:
        room -= max(len(names[name]), 6) + 2
        if room >= 0 or not shown:
            shown.append(name)
            table.add_column(names[name], justify="right", min_width=6, no_wrap=True)
    for line in lines:
        values = [line["scores"].get(name) for name in shown]
        texts = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(str(line["epoch"] + 1), str(line["step"]), *texts)
    return table


def format_validation(line: dict[str, object]) -> str:
    """Return a validation in one line."""
    scores = line["scores"]
    values = scores.items() if isinstance(scores, dict) else ()
    told = "  ".join(f"{name} {value:.4f}" for name, value in values if value is not None)
    return f"epoch {int(str(line['epoch'])) + 1}  step {line['step']}  {told}"


def _left(one: RunStatus) -> str:
    seconds = one.last.get("seconds_left")
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def _shown_folder(folder: Path) -> str:
    """Return a folder as it is typed from here, where it is below."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
