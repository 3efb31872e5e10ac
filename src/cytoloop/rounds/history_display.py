"""The history of rounds as a tree on the terminal, an HTML page and a picture."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from cytoloop.errors import ConfigError, OutputError, join_names
from cytoloop.io.html import data_uri, write_page
from cytoloop.io.writers.png import write_png
from cytoloop.rounds.history import Round

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_IMAGES, _MAX_KEYS, _MAX_CHARS = 8, 12, 60
_BLUE, _ORANGE = "#0072B2", "#D55E00"


def history_tree(root: Round, own_id: str) -> Tree:
    """Return the rounds as a tree for the terminal, with a mark at the run of `own_id`."""
    tree = Tree(_headline(root, own_id), guide_style="dim")
    _add_branches(tree, root, own_id)
    return tree


def write_history(root: Round, own_id: str, path: Path) -> Path:
    """Write the rounds as a page (``.html``) or a picture (``.png``) and return the path.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    figure = draw_history(root, own_id)
    try:
        if path.suffix.lower() == ".png":
            write_png(path, figure)
            return path
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
        return write_page(
            path,
            "cytoloop.rounds",
            "history.html.jinja",
            root=root,
            own=own_id,
            picture=data_uri(picture.getvalue(), "image/png"),
            date=_date,
            data=_data,
            images=_images,
        )
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written: {error.strerror}", "Choose another output=."
        ) from error


def check_history_file(path: Path, overwrite: bool = False) -> None:
    """Refuse a file that `write_history` cannot write, or that exists and may not be replaced.

    Raises
    ------
    ConfigError
        The file name does not end with ``.html`` or ``.png``.
    OutputError
        The file exists, or is a folder.
    """
    if path.suffix.lower() not in (".html", ".png"):
        raise ConfigError(
            f"output={path}",
            f"the ending is {path.suffix!r}, expected .html or .png",
            "Choose a name such as history.html.",
        )
    if path.is_dir():
        raise OutputError(str(path), "is a folder, expected a file", "Choose another output=.")
    if path.exists() and not overwrite:
        raise OutputError(
            str(path), "exists already", "Choose another output=, or replace it: overwrite=true."
        )


def draw_history(root: Round, own_id: str) -> Figure:
    """Return a figure with a box for each round and lines from parents to children."""
    from matplotlib.figure import Figure  # not pyplot, which would set the caller's backend

    positions: dict[str, tuple[int, float]] = {}
    rows = _place(root, positions, 0, 0.0)
    columns = 1 + max(depth for depth, _ in root.walk())
    figure = Figure(figsize=(3.1 * columns + 0.4, 1.55 * rows + 0.4), facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.1, columns - 0.25), ylim=(rows - 0.4, -0.6))
    axis.axis("off")
    for _, one in root.walk():
        x, y = positions[one.run_id]
        for child in one.children:
            right, below = positions[child.run_id]
            axis.plot([x + 0.1, right + 0.1], [y, below], color="#888888", linewidth=1.2, zorder=1)
        axis.text(
            x + 0.02,
            y,
            _box_text(one),
            fontsize=7.5,
            va="center",
            linespacing=1.45,
            bbox={
                "boxstyle": "round,pad=0.6",
                "facecolor": "white",
                "edgecolor": _ORANGE if one.run_id == own_id else _BLUE,
                "linewidth": 2.0 if one.run_id == own_id else 1.0,
            },
        )
    return figure


def _date(one: Round) -> str:
    """Return the start of a round, local time."""
    return datetime.fromtimestamp(one.started).strftime("%Y-%m-%d %H:%M")


def _data(one: Round) -> str:
    """Return the data set of a round: name and number of images of each split."""
    counts = ", ".join(f"{number} {split}" for split, number in one.counts.items())
    return f"{one.data} ({counts})" if counts else one.data


def _images(ids: list[str]) -> str:
    return join_names(ids, _MAX_IMAGES)


def _headline(one: Round, own_id: str) -> str:
    mark = " [bold]<- this model[/bold]" if one.run_id == own_id else ""
    style = {"FINISHED": "green", "RUNNING": "bold green"}.get(one.status, "yellow")
    return (
        f"[bold]round {one.number}[/bold] {escape(one.name)} {_date(one)} "
        f"[{style}]{one.status.lower()}[/{style}]{mark}"
    )


def _add_branches(tree: Tree, one: Round, own_id: str) -> None:
    versions = f" [cyan]{escape(', '.join(one.versions))}[/cyan]" if one.versions else ""
    tree.add(f"runs:/{one.run_id}{versions}")
    if one.start:
        tree.add(escape(f"starts from {one.start}"))
    changes = [f"+{len(one.added)}: {_images(one.added)}"] if one.added else []
    changes += [f"-{len(one.removed)}: {_images(one.removed)}"] if one.removed else []
    changes += ["same images, other labels, regions or splits"] if one.relabelled else []
    tree.add(escape("; ".join([f"data {_data(one)}", *changes])))
    if one.scores:
        tree.add("  ".join(f"{name} {value:.4f}" for name, value in one.scores.items()))
    for key in list(one.changed)[:_MAX_KEYS]:
        before, now = (_short(text) for text in one.changed[key])
        tree.add(escape(f"{key}: {before} -> {now}"))
    if len(one.changed) > _MAX_KEYS:
        tree.add(f"and {len(one.changed) - _MAX_KEYS} more changed values")
    for child in one.children:
        _add_branches(tree.add(_headline(child, own_id)), child, own_id)


def _place(one: Round, positions: dict[str, tuple[int, float]], depth: int, row: float) -> float:
    """Set the column and row of each round from `row` on; return the next free row."""
    first = row
    for child in one.children:
        row = _place(child, positions, depth + 1, row)
    row = max(row, first + 1)
    positions[one.run_id] = (depth, first + (row - first - 1) / 2)
    return row


def _box_text(one: Round) -> str:
    lines = [f"round {one.number}  {_short(one.name, 24)}", f"{_date(one)}  {one.run_id[:8]}"]
    lines += [_short(f"starts from {one.start}", 40)] if one.start else []
    lines.append(_short(_data(one), 40))
    if one.added or one.removed:
        lines[-1] += f"\n+{len(one.added)} -{len(one.removed)} images"
    if one.changed:
        lines.append(f"{len(one.changed)} value(s) changed")
    shown = [name for name in ("val/dice", "test/dice", "test/f1_50") if name in one.scores]
    lines += [f"{name} {one.scores[name]:.3f}" for name in shown]
    return "\n".join(lines)


def _short(text: str, most: int = _MAX_CHARS) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
