"""Snapshots: what the network makes of the same validation fields as it learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.io.writers.tiff import write_png
from cytoloop.training.callbacks.curves import log_files
from cytoloop.truth.classes import PREFIX

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart by colour-blind readers too
_TRUE, _PREDICTED = "#F0E442", "#56B4E9"
_CLASSES = (_TRUE, _PREDICTED, "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_BACKGROUND, _TEXT = "#101014", "#F0F0F0"
_LARGEST = (16, 256, 256)  # voxels of a field: a snapshot costs a few windows


class Snapshots(Callback):
    """Draw fields of the first validation images: image, truth, prediction.

    A field is the part of an image with most truth. Sheets are spread evenly over the budget of
    the training, be it epochs or minutes.

    Parameters
    ----------
    folder : str or Path
        For ``epoch_0001.png`` and so on.
    fields : int
        Validation images on a sheet.
    every_n_epochs : int
        At least so many epochs lie between two sheets.
    max_sheets : int
        Sheets of a training; 0 for none.
    """

    def __init__(
        self, folder: str | Path, fields: int = 3, every_n_epochs: int = 1, max_sheets: int = 10
    ) -> None:
        self.folder = Path(folder)
        self.fields = int(fields)
        self.every_n_epochs = int(every_n_epochs)
        self.max_sheets = int(max_sheets)
        self._next = 0.0 if self.max_sheets > 1 else 1.0  # share of the budget
        self._last = -self.every_n_epochs
        self._rows: list[tuple[dict[str, Any], np.ndarray]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must remember: when the next sheet is due."""
        return {"next": self._next, "last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the schedule of the run that is resumed."""
        self._next, self._last = state_dict["next"], state_dict["last"]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the fields of the last time."""
        self._rows = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the field of an image, and what is found in it, if a sheet is due."""
        if batch_idx >= self.fields or not self._due(trainer, pl_module):
            return
        field = _field(batch, len(_shown(outputs)))
        # now, for averaged weights are in place for the validation only
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            logits = pl_module.inferer(field["image"], pl_module)  # type: ignore[operator]
        maps = [
            pl_module.head(name).probability(logits[name])[0, 0]  # type: ignore[operator]
            for name in _shown(logits)
        ]
        self._rows.append((field, torch.stack(maps).float().cpu().numpy()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the sheet if it is due."""
        if not self._rows:
            return
        spent = _spent(pl_module)
        self._last = trainer.current_epoch
        self._next = (int(spent * (self.max_sheets - 1) + 1e-6) + 1) / max(self.max_sheets - 1, 1)
        rows, self._rows = self._rows, []
        title = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        path = self.folder / f"epoch_{trainer.current_epoch + 1:04d}.png"
        write_png(path, draw_sheet(rows, title))
        log_files(trainer, [path], "snapshots")

    def _due(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        if self.max_sheets < 1 or trainer.sanity_checking or not trainer.is_global_zero:
            return False
        waited = trainer.current_epoch - self._last
        return waited >= self.every_n_epochs and _spent(pl_module) + 1e-6 >= self._next


def draw_sheet(rows: list[tuple[dict[str, Any], np.ndarray]], title: str) -> Figure:
    """Return a figure with a row for each field: image, truth, prediction above 0.5.

    Classes have a colour each, the same in truth and prediction.

    Parameters
    ----------
    rows : list of (batch, probability)
        A batch of one with ``image`` (1, C, [Z,] Y, X), ``target`` and ``weight`` (1, K, [Z,] Y,
        X); the probability is (1, [Z,] Y, X) of the foreground, or of each class. Of a stack the
        plane with most truth is shown.
    title : str
    """
    from matplotlib.figure import Figure  # no pyplot: the caller's backend stays as it is

    figure = Figure(figsize=(8.4, 2.9 * len(rows) + 0.5), facecolor=_BACKGROUND)
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for own, (batch, probability) in zip(axes, rows, strict=True):
        image, target, counted = (
            batch[key][0].float().cpu().numpy() for key in ("image", "target", "weight")
        )
        image, target = image[0], target[: len(probability)]
        true, found = (target > 0.5) & (counted > 0), (probability > 0.5) & (counted > 0)
        dice = 2 * (true & found).sum() / max(true.sum() + found.sum(), 1)
        if image.ndim == 3:
            plane = int(true.sum((0, 2, 3)).argmax())
            image, true, found = image[plane], true[:, plane], found[:, plane]
        colours = _CLASSES if len(probability) > 1 else (_PREDICTED,)
        _show(own[0], image, (), (), str(_name(batch)))
        _show(own[1], image, true, _CLASSES, "truth")
        _show(own[2], image, found, colours, f"prediction, Dice {dice:.3f}")
    figure.suptitle(title, color=_TEXT, fontsize=11)
    figure.tight_layout(w_pad=0.4, h_pad=0.4)
    return figure


def _show(
    axes: Axes,
    image: np.ndarray,
    outlines: Iterable[np.ndarray],
    colours: Sequence[str],
    title: str,
) -> None:
    low, high = np.percentile(image, [0.5, 99.5])
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    for number, outline in enumerate(outlines):
        if outline.any() and not outline.all():
            colour = colours[number % len(colours)]
            axes.contour(outline, [0.5], colors=colour, linewidths=0.9)
    axes.axis("off")
    axes.set_title(title, color=_TEXT, fontsize=8)


def _shown(maps: Mapping[str, Any]) -> list[str]:
    """Return the heads that are drawn: the foreground, or all classes."""
    first, *rest = maps
    return [first, *rest] if first.startswith(PREFIX) else [first]


def _field(batch: dict[str, Any], heads: int) -> dict[str, Any]:
    """Return the part of a batch of one around the middle of the truth in its richest plane."""
    target: Tensor = (batch["target"][0, :heads] > 0.5).any(0)
    shape = target.shape
    largest = _LARGEST[-len(shape) :]
    centre = [n // 2 for n in shape]
    if bool(target.any()):
        if len(shape) == 3:
            centre[0] = int(target.sum((1, 2)).argmax())
        plane = target[centre[0]] if len(shape) == 3 else target
        centre[-2:] = [int(v) for v in plane.nonzero().float().mean(0).round()]
    window = [slice(None), slice(None)]
    for middle, size, most in zip(centre, shape, largest, strict=True):
        start = min(max(middle - most // 2, 0), max(size - most, 0))
        window.append(slice(start, start + most))
    cut = {key: batch[key][tuple(window)].clone() for key in ("image", "target", "weight")}
    return {**batch, **cut}


def _name(batch: dict[str, Any]) -> str:
    name = batch.get("id", "")
    return str(name[0]) if isinstance(name, (list, tuple)) else str(name)


def _spent(pl_module: LightningModule) -> float:
    return float(pl_module.budget_spent())  # type: ignore[operator]
