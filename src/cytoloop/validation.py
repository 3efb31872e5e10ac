"""Scores of objects on whole validation images while a model is trained."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from cytoloop.evaluation.matching import match_instances
from cytoloop.evaluation.scores import INSTANCE_COUNTS, instance_counts, instance_scores
from cytoloop.inference.postprocess import POSTPROCESS, Trained, resolved, rule_for
from cytoloop.instances import segment

SCORES = ("f1_50", "ap_50", "seg", "pq")


class ObjectScores(Callback):
    """Log ``val/f1_50``, ``val/ap_50``, ``val/seg`` and ``val/pq`` over all objects together.

    Objects are parted as prediction does, with its settings for a model that is not tuned yet.
    Nothing is logged for a model without a head for the depth inside objects.
    """

    def __init__(self) -> None:
        self._counts: list[dict[str, float]] = []

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Forget the objects of the last time."""
        self._counts = []

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Part the objects of an image and match them with the true ones."""
        if not isinstance(outputs, dict) or "distance" not in outputs:
            return
        if not batch.get("counts", True):  # another process has this image
            self._counts.append({})
            return
        trained = Trained.of(pl_module.hparams["image"])
        first, depth = (_plain(outputs[name]) for name in (next(iter(outputs)), "distance"))
        settings = resolved(POSTPROCESS, Trained())
        threshold, spacing = settings["threshold"], trained.spacing_um
        rule = rule_for(settings, threshold, spacing, trained, first.ndim)
        labels, _ = segment(first, rule, spacing, depth=depth)
        truth = batch["labels"][0].cpu().numpy()
        valid = (batch["weight"][0, 0] > 0).cpu().numpy()
        self._counts.append(instance_counts(match_instances(truth, np.asarray(labels), valid)))

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log the scores over the objects of all images, and of all processes."""
        if not self._counts:
            return
        sums = torch.tensor(  # of one type in all processes, also where one has nothing to count
            [sum(one.get(name, 0) for one in self._counts) for name in INSTANCE_COUNTS],
            dtype=torch.float32,
        )
        if trainer.world_size > 1:
            gathered: Any = pl_module.all_gather(sums.to(pl_module.device))
            sums = gathered.sum(0).cpu()
        found = instance_scores(dict(zip(INSTANCE_COUNTS, sums.tolist(), strict=True)))
        # no object anywhere: nothing was wrong
        scores = {f"val/{name}": float(np.nan_to_num(found[name], nan=1.0)) for name in SCORES}
        pl_module.log_dict(scores, rank_zero_only=False)


def _plain(values: torch.Tensor) -> np.ndarray:
    """Return a map (1, 1, ...) of the device as an array (...)."""
    return values[0, 0].float().cpu().numpy()
