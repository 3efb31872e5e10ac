"""The curves of a training: loss and scores against steps, as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from cytoloop.io.writers.tiff import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
_LOWEST = "val/loss"
"""The score of which the lowest is the best."""


class Curves(Callback):
    """Draw ``curves.png`` when a training ends or is stopped, and hand it to the loggers.

    Parameters
    ----------
    progress : str or Path
        ``progress.jsonl``, see `cytoloop.training.callbacks.progress_log`; a resumed run's curve is whole.
    path : str or Path
    monitor : str
        The score that chooses the checkpoint.
    """

    def __init__(self, progress: str | Path, path: str | Path, monitor: str = "val/dice") -> None:
        self.progress = Path(progress)
        self.path = Path(path)
        self.monitor = monitor

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draw what there is."""
        if isinstance(exception, (KeyboardInterrupt, SystemExit)):
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or not self.progress.is_file():
            return
        lines = [json.loads(line) for line in self.progress.read_text().splitlines() if line]
        if not any(line["event"] == "validation" for line in lines):
            return
        write_png(self.path, draw_curves(lines, self.monitor))
        log_files(trainer, [self.path], "figures")


def log_files(trainer: Trainer, paths: list[Path], folder: str) -> None:
    """Give files to the loggers that take any."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_files"):
            logger.log_files(paths, folder)


def draw_curves(lines: list[dict[str, Any]], monitor: str = "val/dice") -> Figure:
    """Return a figure of losses and scores against steps.

    Parameters
    ----------
    lines : list of dict
        Of ``progress.jsonl``.
    monitor : str
        The score of which the best is marked.
    """
    from matplotlib.figure import Figure  # no pyplot: the caller's backend stays as it is

    figure = Figure(figsize=(9.2, 3.4), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [line for line in lines if line.get("loss") is not None]
    checks = [line for line in lines if line["event"] == "validation"]
    left.plot([s["step"] for s in steps], [s["loss"] for s in steps], color=_GREY, label="training")
    _plot(left, checks, "val/loss", _BLUE, "validation")
    scored = [step for step in steps if step.get("dice") is not None]
    if scored:
        dices = [step["dice"] for step in scored]
        right.plot([s["step"] for s in scored], dices, color=_GREY, label="dice, training patches")
    shown = {"val/dice": _ORANGE, "val/iou": _GREEN}
    if monitor not in (*shown, _LOWEST):
        shown = {"val/dice": _ORANGE, monitor: _BLUE}
    for name, colour in shown.items():
        _plot(right, checks, name, colour, name.removeprefix("val/"))
    known = [one for one in checks if one["scores"].get(monitor) is not None]
    if known:
        choose = min if monitor == _LOWEST else max
        best = choose(known, key=lambda one: one["scores"][monitor])
        value = best["scores"][monitor]
        axis, colour = (left, _BLUE) if monitor == _LOWEST else (right, shown[monitor])
        text = f"best {monitor.removeprefix('val/')} {value:.3f}"
        axis.plot([best["step"]], [value], "o", color=colour, label=text)
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="score", ylim=(0, 1.02))
    for axis in (left, right):
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.legend(frameon=False)
    return figure


def _plot(axis: Any, checks: list[dict[str, Any]], name: str, colour: str, label: str) -> None:
    known = [(c["step"], c["scores"][name]) for c in checks if c["scores"].get(name) is not None]
    marker = "o-" if len(known) < 25 else "-"
    if known:
        steps, values = zip(*known, strict=True)
        axis.plot(steps, values, marker, color=colour, label=label, markersize=3)
