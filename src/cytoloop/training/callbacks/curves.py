"""Learning curves: a figure of loss and scores against steps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from cytoloop.io.writers.png import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
_EVERY = 60.0  # seconds between two pictures
_LOSS = "val/loss"
"""The only score of which the lowest value is the best."""


class Curves(Callback):
    """Draw ``curves.png`` during a training, and at its end send it to the loggers.

    The picture is drawn again after a validation, once a minute at most.

    Parameters
    ----------
    progress : str or Path
        The file ``progress.jsonl``, see `cytoloop.training.callbacks.progress.Progress`. It holds
        all steps of a resumed run.
    path : str or Path
        The picture to write.
    monitor : str
        The score that selects the best checkpoint.
    """

    def __init__(self, progress: str | Path, path: str | Path, monitor: str = "val/dice") -> None:
        self.progress = Path(progress)
        self.path = Path(path)
        self.monitor = monitor
        self._drawn = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves so far."""
        if time.monotonic() - self._drawn >= _EVERY:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves."""
        self._draw(trainer, log=True)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draw the curves of a training that the user stops."""
        if isinstance(exception, (KeyboardInterrupt, SystemExit)):
            self._draw(trainer, log=True)

    def _draw(self, trainer: Trainer, log: bool = False) -> None:
        """Draw the curves if there was a validation."""
        if not trainer.is_global_zero or not self.progress.is_file():
            return
        lines = [json.loads(line) for line in self.progress.read_text().splitlines() if line]
        if not any(line["event"] == "validation" for line in lines):
            return
        write_png(self.path, draw_curves(lines, self.monitor))
        self._drawn = time.monotonic()
        if log:
            log_files(trainer, [self.path], "figures")


def log_files(trainer: Trainer, paths: list[Path], folder: str) -> None:
    """Send files to the loggers that accept files, into a folder of the run's artifacts."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_files"):
            logger.log_files(paths, folder)


def draw_curves(lines: list[dict[str, Any]], monitor: str = "val/dice") -> Figure:
    """Return a figure of losses (left) and scores (right) against steps.

    Parameters
    ----------
    lines : list of dict
        The lines of ``progress.jsonl``.
    monitor : str
        The score whose best value is marked.
    """
    from matplotlib.figure import Figure  # not pyplot, which would set the caller's backend

    figure = Figure(figsize=(9.2, 3.4), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [line for line in lines if line.get("loss") is not None]
    validations = [line for line in lines if line["event"] == "validation"]
    left.plot([s["step"] for s in steps], [s["loss"] for s in steps], color=_GREY, label="training")
    _plot_score(left, validations, _LOSS, _BLUE, "validation")
    scored = [step for step in steps if step.get("dice") is not None]
    if scored:
        dice = [step["dice"] for step in scored]
        right.plot([s["step"] for s in scored], dice, color=_GREY, label="dice, training patches")
    colours = {"val/dice": _ORANGE, "val/iou": _GREEN}
    if monitor not in (*colours, _LOSS):
        colours = {"val/dice": _ORANGE, monitor: _BLUE}
    for name, colour in colours.items():
        _plot_score(right, validations, name, colour, name.removeprefix("val/"))
    known = [one for one in validations if one["scores"].get(monitor) is not None]
    if known:
        choose = min if monitor == _LOSS else max
        best = choose(known, key=lambda one: one["scores"][monitor])
        value = best["scores"][monitor]
        axis, colour = (left, _BLUE) if monitor == _LOSS else (right, colours[monitor])
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


def _plot_score(
    axis: Any, validations: list[dict[str, Any]], name: str, colour: str, label: str
) -> None:
    """Plot a score against steps, where it is known; with markers if there are few points."""
    scored = [line for line in validations if line["scores"].get(name) is not None]
    if not scored:
        return
    steps, values = [line["step"] for line in scored], [line["scores"][name] for line in scored]
    marker = "o-" if len(scored) < 25 else "-"
    axis.plot(steps, values, marker, color=colour, label=label, markersize=3)
