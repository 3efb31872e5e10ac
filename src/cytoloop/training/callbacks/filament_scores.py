"""Callback that scores the centrelines of whole validation images during training."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from cytoloop.evaluation import formulas
from cytoloop.evaluation.counts.skeletons import count_skeletons
from cytoloop.evaluation.counts.voxels import count_voxels
from cytoloop.truth.classes import class_names

_CLDICE, _MEAN = "val/cldice", "val/filaments"


class FilamentScores(Callback):
    """Log ``val/cldice`` and ``val/filaments`` (mean of Dice and clDice) of validation images.

    Both score the mask of probability > 0.5; voxels that are excluded do not count. Dice alone
    rewards thick structures and hardly sees a break; clDice alone does not see the width. In an
    image whose true mask is not thin, both are Dice. With classes, foreground is any class.

    Skeletons of a stack of 15 x 512 x 512 voxels take about a second.
    """

    logs = (_CLDICE, _MEAN)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare the centrelines of an image with the true ones."""
        counts: Any = float(batch.get("counts", True))  # 0: another process scores this image
        scores = dict.fromkeys(self.logs, 0.0)
        if counts:
            kinds = list(pl_module.hparams["image"]["heads"])
            foreground = max(len(class_names(kinds)), 1)
            maps = torch.cat(list(outputs.values())[:foreground], dim=1)
            scores = filament_scores(
                (batch["labels"][0] > 0).cpu().numpy(),
                (maps[0] > 0.5).any(dim=0).cpu().numpy(),
                (batch["weight"][0, 0] > 0).cpu().numpy(),
            )
        pl_module.log_dict(scores, on_step=False, on_epoch=True, sync_dist=True, batch_size=counts)


def filament_scores(
    truth: np.ndarray, predicted: np.ndarray, valid: np.ndarray
) -> dict[str, float]:
    """Return ``val/cldice`` and ``val/filaments`` of one image; its Dice unless truth is thin.

    Parameters
    ----------
    truth, predicted, valid : ndarray of bool
        ([Z,] Y, X). False in `valid` is excluded.
    """
    dice = formulas.dice(count_voxels(truth, predicted, valid))
    skeletons = count_skeletons(truth, predicted, valid)
    cldice = formulas.cldice(skeletons) if skeletons["skeleton_true"] else dice
    return {_CLDICE: cldice, _MEAN: (dice + cldice) / 2}
