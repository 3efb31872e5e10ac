"""Snapshots: pictures of the same validation fields while the network learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.io.writers.png import write_png
from cytoloop.training.callbacks.curves import log_files
from cytoloop.truth.classes import CLASS_PREFIX

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: distinct for colour-blind readers too
_TRUTH, _PREDICTION = "#F0E442", "#56B4E9"
_CLASSES = (_TRUTH, _PREDICTION, "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_BACKGROUND, _TEXT = "#101014", "#F0F0F0"
_FIELD_SIZE = (16, 256, 256)  # largest Z, Y, X of a field: one snapshot takes a few windows


class Snapshots(Callback):
    """Draw fields of the first validation images: image, truth, prediction.

    A field is cut around the middle of the truth in its plane with most truth. The sheets are
    spread evenly over the training budget, in epochs or minutes.

    Parameters
    ----------
    folder : str or Path
        Folder for ``epoch_0001.png`` and so on.
    fields : int
        Validation images on a sheet.
    every_n_epochs : int
        Fewest epochs between two sheets.
    max_sheets : int
        Most sheets of a training; 0 for none.
    """

    def __init__(
        self, folder: str | Path, fields: int = 3, every_n_epochs: int = 1, max_sheets: int = 10
    ) -> None:
        self.folder = Path(folder)
        self.fields = int(fields)
        self.every_n_epochs = int(every_n_epochs)
        self.max_sheets = int(max_sheets)
        self._next = 0.0 if self.max_sheets > 1 else 1.0  # fraction of the budget
        self._last = -self.every_n_epochs  # epoch of the last sheet
        self._rows: list[tuple[dict[str, Any], np.ndarray]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return when the next sheet is due, for a resumed run."""
        return {"next": self._next, "last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore when the next sheet is due."""
        self._next, self._last = state_dict["next"], state_dict["last"]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a new sheet."""
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
        """Keep the field of an image and its prediction, if a sheet is due."""
        if batch_idx >= self.fields or not self._is_due(trainer, pl_module):
            return
        field = _cut_field(batch, len(_drawn_heads(outputs)))
        # predicted now: averaged weights (callbacks=ema) are in place during validation only
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            logits = pl_module.inferer(field["image"], pl_module)  # type: ignore[operator]
        maps = [
            pl_module.head(name).probability(logits[name])[0, 0]  # type: ignore[operator]
            for name in _drawn_heads(logits)
        ]
        self._rows.append((field, torch.stack(maps).float().cpu().numpy()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the sheet, if it is due, and send it to the loggers."""
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

    def _is_due(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        if self.max_sheets < 1 or trainer.sanity_checking or not trainer.is_global_zero:
            return False
        epochs = trainer.current_epoch - self._last
        return epochs >= self.every_n_epochs and _spent(pl_module) + 1e-6 >= self._next


def draw_sheet(rows: list[tuple[dict[str, Any], np.ndarray]], title: str) -> Figure:
    """Return a figure with a row for each field: image, truth, prediction above 0.5.

    Each class has one colour, the same in truth and prediction.

    Parameters
    ----------
    rows : list of (batch, probability)
        A batch of one with ``image`` (1, C, [Z,] Y, X), ``target`` (1, K, [Z,] Y, X) and ``weight``
        (1, 1, [Z,] Y, X), and the probability (1, [Z,] Y, X) of the foreground, or (classes, [Z,]
        Y, X). Of a stack the plane with most truth is drawn.
    title : str
    """
    from matplotlib.figure import Figure  # not pyplot, which would set the caller's backend

    figure = Figure(figsize=(8.4, 2.9 * len(rows) + 0.5), facecolor=_BACKGROUND)
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for row, (batch, probability) in zip(axes, rows, strict=True):
        image, target, counted = (
            batch[key][0].float().cpu().numpy() for key in ("image", "target", "weight")
        )
        image, target = image[0], target[: len(probability)]
        true, predicted = (target > 0.5) & (counted > 0), (probability > 0.5) & (counted > 0)
        dice = 2 * (true & predicted).sum() / max(true.sum() + predicted.sum(), 1)
        if image.ndim == 3:
            plane = int(true.sum((0, 2, 3)).argmax())
            image, true, predicted = image[plane], true[:, plane], predicted[:, plane]
        colours = _CLASSES if len(probability) > 1 else (_PREDICTION,)
        _draw_panel(row[0], image, (), (), _image_id(batch))
        _draw_panel(row[1], image, true, _CLASSES, "truth")
        _draw_panel(row[2], image, predicted, colours, f"prediction, Dice {dice:.3f}")
    figure.suptitle(title, color=_TEXT, fontsize=11)
    figure.tight_layout(w_pad=0.4, h_pad=0.4)
    return figure


def _draw_panel(
    axes: Axes,
    image: np.ndarray,
    masks: Iterable[np.ndarray],
    colours: Sequence[str],
    title: str,
) -> None:
    """Draw a plane (Y, X) with the outlines of masks."""
    low, high = np.percentile(image, [0.5, 99.5])
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    for number, mask in enumerate(masks):
        if mask.any() and not mask.all():
            colour = colours[number % len(colours)]
            axes.contour(mask, [0.5], colors=colour, linewidths=0.9)
    axes.axis("off")
    axes.set_title(title, color=_TEXT, fontsize=8)


def _drawn_heads(maps: Mapping[str, Any]) -> list[str]:
    """Return the heads that are drawn: the foreground, or all classes."""
    first, *rest = maps
    return [first, *rest] if first.startswith(CLASS_PREFIX) else [first]


def _cut_field(batch: dict[str, Any], heads: int) -> dict[str, Any]:
    """Return a batch of one cut around the middle of the truth in its plane with most truth."""
    target: Tensor = (batch["target"][0, :heads] > 0.5).any(0)
    shape = target.shape
    field_size = _FIELD_SIZE[-len(shape) :]
    centre = [n // 2 for n in shape]
    if bool(target.any()):
        if len(shape) == 3:
            centre[0] = int(target.sum((1, 2)).argmax())
        plane = target[centre[0]] if len(shape) == 3 else target
        centre[-2:] = [int(v) for v in plane.nonzero().float().mean(0).round()]
    window = [slice(None), slice(None)]
    for middle, size, most in zip(centre, shape, field_size, strict=True):
        start = min(max(middle - most // 2, 0), max(size - most, 0))
        window.append(slice(start, start + most))
    cut = {key: batch[key][tuple(window)].clone() for key in ("image", "target", "weight")}
    return {**batch, **cut}


def _image_id(batch: dict[str, Any]) -> str:
    """Return the id of the image of a batch of one."""
    found = batch.get("id", "")
    return str(found[0]) if isinstance(found, (list, tuple)) else str(found)


def _spent(pl_module: LightningModule) -> float:
    """Return the fraction of the training budget that is used up, 0 to 1."""
    return float(pl_module.budget_spent())  # type: ignore[operator]
