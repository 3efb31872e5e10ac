"""Scores of objects on whole validation images while a model is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from cytoloop.evaluation.matching import match_instances
from cytoloop.evaluation.scores import INSTANCE_COUNTS, instance_counts, instance_scores
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.settings import MIN_DEPTH, PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.instances import Landscape
from cytoloop.io.voxel_size import Spacing

SCORES = ("f1_50", "ap_50", "seg", "pq")


class ObjectScores(Callback):
    """Log ``val/f1_50``, ``val/ap_50``, ``val/seg`` and ``val/pq`` over all objects together.

    Objects are parted as prediction does, with its settings for a model that is not tuned yet, but
    with the ``min_depth`` of the highest ``val/pq``: it is chosen when training has ended, and a
    model whose depths fall more between and inside objects is no worse for that.
    Nothing is logged for a model without a head for the depth inside objects.
    """

    def __init__(self) -> None:
        self._counts: list[list[dict[str, float]]] = []  # of each image, for each min_depth

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
            self._counts.append([{} for _ in MIN_DEPTH])
            return
        trained = TrainingFacts.from_checkpoint(pl_module.hparams["image"])
        maps = {name: _plain(values) for name, values in outputs.items()}
        first = next(iter(maps.values()))
        settings = PostprocessSettings().resolve_tuned(None)
        threshold, spacing = float(settings.threshold), _spacing(batch) or trained.spacing_um
        rule = instance_rule(settings, threshold, spacing, trained, first.ndim)
        land = Landscape(first, rule, spacing, depth=maps["distance"], contour=maps.get("contour"))
        truth = batch["labels"][0].cpu().numpy()
        valid = (batch["weight"][0, 0] > 0).cpu().numpy()
        counts = []
        for fall in MIN_DEPTH:
            labels, _ = land.objects(replace(rule, min_depth=fall))
            counts.append(instance_counts(match_instances(truth, np.asarray(labels), valid)))
        self._counts.append(counts)

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log the scores over the objects of all images, and of all processes."""
        if not self._counts:
            return
        sums = torch.tensor(  # of one type in all processes, also where one has nothing to count
            [
                [sum(one.get(name, 0) for one in images) for name in INSTANCE_COUNTS]
                for images in zip(*self._counts, strict=True)
            ],
            dtype=torch.float32,
        )
        if trainer.world_size > 1:
            gathered: Any = pl_module.all_gather(sums.to(pl_module.device))
            sums = gathered.sum(0).cpu()
        found = [
            instance_scores(dict(zip(INSTANCE_COUNTS, one, strict=True))) for one in sums.tolist()
        ]
        # no object anywhere: nothing was wrong
        scores = [
            {name: float(np.nan_to_num(one[name], nan=1.0)) for name in SCORES} for one in found
        ]
        best = max(scores, key=lambda one: one["pq"])
        pl_module.log_dict({f"val/{n}": v for n, v in best.items()}, rank_zero_only=False)


def _spacing(batch: Any) -> Spacing | None:
    """Return the voxel size of the image of a batch, None where nobody states it."""
    z, y, x = batch["spacing_um"][0].tolist()
    return (z, y, x) if math.isfinite(z) else None


def _plain(values: torch.Tensor) -> np.ndarray:
    """Return a map (1, 1, ...) of the device as an array (...)."""
    return values[0, 0].float().cpu().numpy()
