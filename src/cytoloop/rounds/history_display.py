"""The tree of rounds on the terminal, as a page and as a picture."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from cytoloop.errors import ConfigError, OutputError, listed
from cytoloop.io.html import data_uri, write_page
from cytoloop.io.writers.tiff import write_png
from cytoloop.rounds.history import Round

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN_IMAGES, _SHOWN_KEYS, _LONGEST = 8, 12, 60
_BLUE, _ORANGE = "#0072B2", "#D55E00"


def history_tree(root: Round, own: str) -> Tree:
    """Return the rounds as a tree for the terminal; the asked one is marked."""
    tree = Tree(_head(root, own), guide_style="dim")
    _grow(tree, root, own)
    return tree


def write_history(root: Round, own: str, path: Path) -> Path:
    """Write the rounds as a page (``.html``) or a picture (``.png``).

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    figure = draw_history(root, own)
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
            own=own,
            picture=data_uri(picture.getvalue(), "image/png"),
            date=date_of,
            data=data_of,
            images=images_of,
        )
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written: {error.strerror}", "Take another output=."
        ) from error


def check_history_file(path: Path) -> None:
    """Refuse a file of another kind than `write_history` knows.

    Raises
    ------
    ConfigError
        Its ending is another one.
    """
    if path.suffix.lower() not in (".html", ".png"):
        raise ConfigError("output", f"{path} is no page and no picture", "Expected .html or .png.")


def draw_history(root: Round, own: str) -> Figure:
    """Return a figure: a box for each round, lines from parents to children, scores inside."""
    from matplotlib.figure import Figure  # no pyplot: the caller's backend stays as it is

    places: dict[str, tuple[int, float]] = {}
    rows = _place(root, places, 0, 0.0)
    columns = 1 + max(depth for depth, _ in root.walk())
    figure = Figure(figsize=(3.1 * columns + 0.4, 1.55 * rows + 0.4), facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.1, columns - 0.25), ylim=(rows - 0.4, -0.6))
    axis.axis("off")
    for _, one in root.walk():
        x, y = places[one.run_id]
        for child in one.children:
            right, below = places[child.run_id]
            axis.plot([x + 0.1, right + 0.1], [y, below], color="#888888", linewidth=1.2, zorder=1)
        axis.text(
            x + 0.02,
            y,
            _boxed(one),
            fontsize=7.5,
            va="center",
            linespacing=1.45,
            bbox={
                "boxstyle": "round,pad=0.6",
                "facecolor": "white",
                "edgecolor": _ORANGE if one.run_id == own else _BLUE,
                "linewidth": 2.0 if one.run_id == own else 1.0,
            },
        )
    return figure


def date_of(one: Round) -> str:
    """Return when a round was started, local time."""
    return datetime.fromtimestamp(one.started).strftime("%Y-%m-%d %H:%M")


def data_of(one: Round) -> str:
    """Return the data set of a round in words."""
    counts = ", ".join(f"{number} {split}" for split, number in one.counts.items())
    return f"{one.data} ({counts})" if counts else one.data


def images_of(ids: list[str]) -> str:
    """Return names of images, the first of many."""
    return listed(ids, _SHOWN_IMAGES)


def _head(one: Round, own: str) -> str:
    mark = " [bold]<- this model[/bold]" if one.run_id == own else ""
    style = {"FINISHED": "green", "RUNNING": "bold green"}.get(one.status, "yellow")
    return (
        f"[bold]round {one.number}[/bold] {escape(one.name)} {date_of(one)} "
        f"[{style}]{one.status.lower()}[/{style}]{mark}"
    )


def _grow(tree: Tree, one: Round, own: str) -> None:
    versions = f" [cyan]{escape(', '.join(one.versions))}[/cyan]" if one.versions else ""
    tree.add(f"runs:/{one.run_id}{versions}")
    changes = [f"+{len(one.added)}: {images_of(one.added)}"] if one.added else []
    changes += [f"-{len(one.removed)}: {images_of(one.removed)}"] if one.removed else []
    changes += ["same images, other labels, regions or splits"] if one.relabelled else []
    tree.add(escape("; ".join([f"data {data_of(one)}", *changes])))
    if one.scores:
        tree.add("  ".join(f"{name} {value:.4f}" for name, value in one.scores.items()))
    for key in list(one.changed)[:_SHOWN_KEYS]:
        before, now = (_short(text) for text in one.changed[key])
        tree.add(escape(f"{key}: {before} -> {now}"))
    if len(one.changed) > _SHOWN_KEYS:
        tree.add(f"and {len(one.changed) - _SHOWN_KEYS} more changed values")
    for child in one.children:
        _grow(tree.add(_head(child, own)), child, own)


def _place(one: Round, places: dict[str, tuple[int, float]], depth: int, row: float) -> float:
    """Give each round its column and row; return the first row that is free below."""
    first = row
    for child in one.children:
        row = _place(child, places, depth + 1, row)
    row = max(row, first + 1)
    places[one.run_id] = (depth, first + (row - first - 1) / 2)
    return row


def _boxed(one: Round) -> str:
    lines = [f"round {one.number}  {_short(one.name, 24)}", f"{date_of(one)}  {one.run_id[:8]}"]
    lines.append(_short(data_of(one), 40))
    if one.added or one.removed:
        lines[-1] += f"\n+{len(one.added)} -{len(one.removed)} images"
    if one.changed:
        lines.append(f"{len(one.changed)} value(s) changed")
    shown = [name for name in ("val/dice", "test/dice", "test/f1_50") if name in one.scores]
    lines += [f"{name} {one.scores[name]:.3f}" for name in shown]
    return "\n".join(lines)


def _short(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
