"""Callback that scores the objects of whole validation images during training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.objects import COUNTS, instance_counts
from cytoloop.evaluation.metrics import INSTANCE, TRAINING, instance_scores, metrics_shown_in
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.settings import MIN_DEPTH, PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.instances import WatershedHierarchy
from cytoloop.io.voxel_size import Spacing

_SELECTED_BY = "pq"
"""Metric that selects the `MIN_DEPTH` whose scores are logged."""


def logged_scores() -> list[str]:
    """Return the names of the logged scores: ``val/f1_50`` and so on."""
    return [f"val/{m.name}" for m in metrics_shown_in(TRAINING) if m.group == INSTANCE]


class ObjectScores(Callback):
    """Log scores of all objects of the validation images together, see `logged_scores`.

    Objects are segmented as in prediction, with the default settings of an untuned model and every
    value of `MIN_DEPTH`. The scores of the value with the highest ``val/pq`` are logged: tuning
    chooses this value after training, so models with deeper or flatter maps are compared fairly.
    A model without a ``distance`` head logs nothing.
    """

    def __init__(self) -> None:
        self._counts: list[list[dict[str, float]]] = []  # of each image, for each min_depth

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Discard the counts of the previous validation."""
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
        """Segment the objects of an image and match them with the true objects."""
        if not isinstance(outputs, dict) or "distance" not in outputs:
            return
        if not batch.get("counts", True):  # another process scores this image
            self._counts.append([{} for _ in MIN_DEPTH])
            return
        trained = TrainingFacts.from_checkpoint(pl_module.hparams["image"])
        maps = {name: _as_array(values) for name, values in outputs.items()}
        first = next(iter(maps.values()))
        settings = PostprocessSettings().resolve_tuned(None)
        threshold, spacing = float(settings.threshold), _spacing(batch) or trained.spacing_um
        rule = instance_rule(settings, threshold, spacing, trained, first.ndim)
        landscape = WatershedHierarchy(
            first, rule, spacing, distance=maps["distance"], contour=maps.get("contour")
        )
        truth = batch["labels"][0].cpu().numpy()
        valid = (batch["weight"][0, 0] > 0).cpu().numpy()
        counts = []
        for min_depth in MIN_DEPTH:
            labels, _ = landscape.objects(replace(rule, min_depth=min_depth))
            counts.append(instance_counts(match_instances(truth, np.asarray(labels), valid)))
        self._counts.append(counts)

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log the scores of the objects of all images, summed over all processes."""
        if not self._counts:
            return
        sums = torch.tensor(  # the same dtype in all processes, also in those without counts
            [
                [sum(image.get(name, 0) for image in images) for name in COUNTS]
                for images in zip(*self._counts, strict=True)
            ],
            dtype=torch.float32,
        )
        if trainer.world_size > 1:
            gathered: Any = pl_module.all_gather(sums.to(pl_module.device))
            sums = gathered.sum(0).cpu()
        scores = [instance_scores(dict(zip(COUNTS, row, strict=True))) for row in sums.tolist()]
        best = max(scores, key=lambda one: np.nan_to_num(one[_SELECTED_BY], nan=1.0))
        # undefined without objects: nothing was wrong
        values = {
            name: float(np.nan_to_num(best[name.removeprefix("val/")], nan=1.0))
            for name in logged_scores()
        }
        pl_module.log_dict(values, rank_zero_only=False)


def _spacing(batch: Any) -> Spacing | None:
    """Return the voxel size of the image of a batch, None where unknown (NaN)."""
    z, y, x = batch["spacing_um"][0].tolist()
    return (z, y, x) if math.isfinite(z) else None


def _as_array(values: torch.Tensor) -> np.ndarray:
    """Return a map (1, 1, ...) on any device as a float32 array (...)."""
    return values[0, 0].float().cpu().numpy()
