"""Trainings on the terminal: a table of all, a live view of one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cytoloop.terminal import events
from cytoloop.tracking.standing import Standing

log = logging.getLogger(__name__)

_STYLES = {"running": "bold green", "finished": "", "stopped": "yellow", "ended": "dim"}
_SHOWN = 8  # validations in the live view


def trainings_table(found: Sequence[Standing]) -> Table:
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


def watch(one: Standing, every: float = 1.0) -> None:
    """Show one training until it ends: redrawn on a terminal, else a line for each validation.

    Parameters
    ----------
    one : Standing
    every : float
        Seconds between two looks.
    """
    told = len(one.validations)
    with Live(view(one), console=events, auto_refresh=False, transient=False) as live:
        while one.update().holder is not None:
            if events.is_terminal:
                live.update(view(one), refresh=True)
            else:
                for line in one.validations[told:]:
                    log.info("%s", validation_line(line))
                told = len(one.validations)
            time.sleep(every)
        live.update(view(one), refresh=True)


def view(one: Standing) -> Group:
    """Return the live view: where, how far, the losses and scores of the last validations."""
    last = one.last
    head = Text.assemble(
        (_shown_folder(one.folder), "bold"),
        f"  run {one.run_id[:8]}  " if one.run_id else "  ",
        (one.state, _STYLES[one.state]),
        f" (process {one.holder.pid})" if one.holder else "",
    )
    facts = [f"epoch {one.epochs}", f"step {last['step']}"] if one.epochs is not None else []
    facts += [f"loss {one.loss:.3f}"] if not math.isnan(one.loss) else []
    facts += [f"data wait {last['data_wait']:.0%}"] if last.get("data_wait") is not None else []
    facts += [left] if one.holder and (left := _left(one)) else []
    bar = Table.grid(padding=(0, 2))
    spent = float(last.get("spent") or 0.0)
    bar.add_row(ProgressBar(total=1.0, completed=spent, width=24), "  ".join(facts))
    scores = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = one.validations[-_SHOWN:]
    names = sorted({name for line in shown for name in line["scores"]})
    for name in ("epoch", "step", *names):
        scores.add_column(name, justify="right")
    for line in shown:
        values = [line["scores"].get(name) for name in names]
        texts = ["" if value is None else f"{value:.4f}" for value in values]
        scores.add_row(str(line["epoch"] + 1), str(line["step"]), *texts)
    return Group(head, bar, *([scores] if shown else []))


def validation_line(line: dict[str, object]) -> str:
    """Return a validation in one line."""
    scores = line["scores"]
    values = scores.items() if isinstance(scores, dict) else ()
    told = "  ".join(f"{name} {value:.4f}" for name, value in values if value is not None)
    return f"epoch {int(str(line['epoch'])) + 1}  step {line['step']}  {told}"


def _left(one: Standing) -> str:
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
