"""The status of trainings on the terminal: a table of several, a live view of one."""

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
_MAX_VALIDATIONS = 8  # rows of the live view
_SCORE_ORDER = ("dice", "f1_50", "ap_50", "seg", "pq", "iou", "loss")
"""The order of the columns; a narrow terminal shows the first ones."""
_TEST_SCORES = ("test/dice", "test/f1_50", "test/seg")
_COLUMN = 6  # smallest width of a column, in characters


def trainings_table(statuses: Sequence[RunStatus]) -> Table:
    """Return a table with a row for each training."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("training", "run", "state", "epoch", "step", "loss", "best", "left"):
        is_text = head in ("training", "run", "state")
        table.add_column(head, justify="left" if is_text else "right", no_wrap=head != "training")
    table.columns[0].overflow, table.columns[0].min_width = "fold", 12
    for status in statuses:
        best = status.best_score()
        changed = datetime.fromtimestamp(status.last_change).strftime("%m-%d %H:%M")
        table.add_row(
            _relative(status.folder),
            status.run_id[:8],
            Text(status.state, style=_STYLES[status.state]),
            status.epoch_text,
            str(status.last_event.get("step", "")),
            "" if math.isnan(status.loss) else f"{status.loss:.3f}",
            "" if best is None else f"{best:.4f}",
            _time_left(status) if status.process else changed,
        )
    return table


def watch_training(status: RunStatus, every: float = 1.0) -> None:
    """Show one training until it ends.

    On a terminal the view is redrawn; elsewhere each validation is logged as one line.

    Parameters
    ----------
    status : RunStatus
    every : float
        Seconds between two updates.
    """
    logged = len(status.validations)
    view = render_status(status, stderr_console.width)
    with Live(view, console=stderr_console, auto_refresh=False, transient=False) as live:
        while status.update().process is not None:
            if stderr_console.is_terminal:
                live.update(render_status(status, stderr_console.width), refresh=True)
            else:
                for validation in status.validations[logged:]:
                    log.info("%s", format_validation(validation))
                logged = len(status.validations)
            time.sleep(every)
        live.update(render_status(status, stderr_console.width), refresh=True)


def render_status(status: RunStatus, width: int) -> Group:
    """Return the live view of a training: progress, and losses and scores of its validations.

    Parameters
    ----------
    status : RunStatus
    width : int
        Width of the terminal in characters.
    """
    parts: list[RenderableType] = [_heading(status), _progress(status)]
    if status.validations:
        parts.append(_scores_table(status.validations[-_MAX_VALIDATIONS:], width))
    if scores := status.final_scores:
        names = [name for name in scores if not name.startswith("test/") or name in _TEST_SCORES]
        parts.append("final  " + "  ".join(f"{name} {scores[name]:.4f}" for name in names))
    if status.process:
        parts.append("")  # an empty line for the ^C that ends the view
    return Group(*parts)


def _heading(status: RunStatus) -> Text:
    return Text.assemble(
        (_relative(status.folder), "bold"),
        f"  run {status.run_id[:8]}  " if status.run_id else "  ",
        (status.state, _STYLES[status.state]),
        f" (process {status.process.pid})" if status.process else "",
    )


def _progress(status: RunStatus) -> Table:
    """Return a bar and a line; the most important values come first, a narrow terminal cuts."""
    event = status.last_event
    values = [left] if status.process and (left := _time_left(status)) else []
    values += [f"epoch {status.epoch_text}", f"step {event['step']}"] if status.epoch_text else []
    training = {"loss": status.loss, "dice": status.dice}
    values += [f"{k} {v:.3f}" for k, v in training.items() if not math.isnan(v)]
    values += [f"data wait {event['data_wait']:.0%}"] if event.get("data_wait") is not None else []
    bar = ProgressBar(total=1.0, completed=float(event.get("spent") or 0.0), width=20)
    grid = Table.grid(padding=(0, 2))
    grid.add_row(bar, Text("  ".join(values), no_wrap=True, overflow="ellipsis"))
    return grid


def _scores_table(validations: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return a table of validations with as many scores as fit the width."""
    names = {name: name.removeprefix("val/") for one in validations for name in one["scores"]}
    rank = {name: number for number, name in enumerate(_SCORE_ORDER)}
    order = sorted(names, key=lambda name: (rank.get(names[name], len(rank)), name))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("epoch", "step"):
        table.add_column(name, justify="right", min_width=_COLUMN)
    room = width - 2 * (_COLUMN + 2)
    columns: list[str] = []
    for name in order:
        room -= max(len(names[name]), _COLUMN) + 2
        if room >= 0 or not columns:
            columns.append(name)
            table.add_column(names[name], justify="right", min_width=_COLUMN, no_wrap=True)
    for validation in validations:
        values = [validation["scores"].get(name) for name in columns]
        texts = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(str(validation["epoch"] + 1), str(validation["step"]), *texts)
    return table


def format_validation(validation: Mapping[str, Any]) -> str:
    """Return a validation as one line: epoch (from 1), step and scores."""
    scores = validation["scores"].items()
    text = "  ".join(f"{name} {value:.4f}" for name, value in scores if value is not None)
    return f"epoch {int(validation['epoch']) + 1}  step {validation['step']}  {text}"


def _time_left(status: RunStatus) -> str:
    seconds = status.last_event.get("seconds_left")
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def _relative(folder: Path) -> str:
    """Return a folder relative to the current one if it is inside it."""
    current = Path.cwd()
    return str(folder.relative_to(current) if folder.is_relative_to(current) else folder)
