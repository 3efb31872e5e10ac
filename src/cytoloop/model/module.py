"""The LightningModule: trains on patches, validates on whole images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import LightningModule
from lightning.pytorch.callbacks import Timer
from omegaconf import OmegaConf
from torch import Tensor, nn

from cytoloop.errors import ConfigError
from cytoloop.model.class_scores import ClassCounts
from cytoloop.model.epoch_means import EpochMeans
from cytoloop.model.hardware import (
    CHANNELS_LAST,
    is_channels_last_faster,
    is_channels_last_safe,
    use_channels_last,
)
from cytoloop.model.layer_decay import layer_decay_groups
from cytoloop.truth.classes import class_names
from cytoloop.version import __version__

Batch = dict[str, Any]


class SegmentationModule(LightningModule):
    """A network whose output channels are heads.

    A batch has ``image`` (B, C, [Z,] Y, X) float32, ``target`` (B, K, [Z,] Y, X) float32 and
    ``weight`` (B, 1, [Z,] Y, X) float32, 0 = excluded; K is the number of heads. Either the first
    head is the foreground, or every head is a class. The keys of the state dict are those of
    CytoDL's `MultiTaskIm2Im`, ``backbone.*``, so that checkpoints can be exchanged.

    Each part may be an object or a config with ``_target_``; `cyto_dl.train` passes configs.
    Configs are saved as hyperparameters.

    Parameters
    ----------
    backbone : Module
        Maps (B, C, [Z,] Y, X) to logits (B, K, [Z,] Y, X).
    task_heads : dict of str to Module
        See `cytoloop.model.heads`.
    inferer : callable
        Runs the network over a whole image in validation: ``inferer(image, network)``.
    image : dict
        Plain values that prediction reads: what the network expects of an image (spatial_dims,
        channels, spacing_um, patch_size, normalization) and what its heads are (heads).
    optimizer : callable, optional
        Makes the optimizer from parameters; Adam by default.
    lr_scheduler : callable, optional
        Called as ``lr_scheduler(optimizer=...)``; stepped after every optimizer step.
    compile : bool
        Compile the network with `torch.compile` at its first step.
    channels_last : bool or ``auto``
        Use the channels-last memory format; ``auto``: where it is faster, see
        `cytoloop.model.hardware.is_channels_last_faster`.
    layer_decay : float
        Factor of the learning rate from each stage of the network to the stage before it, (0, 1].

    Raises
    ------
    ConfigError
        ``layer_decay`` is out of range.
    """

    def __init__(
        self,
        *,
        backbone: Any,
        task_heads: Any,
        inferer: Any,
        image: Any,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        compile: bool = False,
        channels_last: bool | str = "auto",
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < layer_decay <= 1:
            raise ConfigError(
                "model.layer_decay", f"is {layer_decay}", "Expected above 0, up to 1."
            )
        parts = {
            "backbone": backbone,
            "task_heads": task_heads,
            "inferer": inferer,
            "optimizer": optimizer,
            "lr_scheduler": lr_scheduler,
        }
        configs = {name: _to_plain(part) for name, part in parts.items() if _is_config(part)}
        options = {"compile": compile, "channels_last": channels_last, "layer_decay": layer_decay}
        self.save_hyperparameters({**configs, "image": _to_plain(image), **options}, logger=False)
        parts |= instantiate(configs, _convert_="all")
        self.backbone: Any = parts["backbone"]
        self.task_heads = nn.ModuleDict(parts["task_heads"])
        self.inferer = parts["inferer"]
        self.optimizer = parts["optimizer"] or torch.optim.Adam
        self.lr_scheduler = parts["lr_scheduler"]
        self.channels_last = channels_last
        self.layer_decay = layer_decay
        self._spatial_dims = image.get("spatial_dims", 3)
        if compile:
            self.backbone.compile()  # in place: the names in a checkpoint stay
        self.class_counts = ClassCounts(class_names(list(image.get("heads") or [])))
        self.epoch_means = EpochMeans()

    def setup(self, stage: str) -> None:
        """Convert the weights to the memory format that suits the trainer's device."""
        device = self.trainer.strategy.root_device.type
        if self.channels_last is True and not is_channels_last_safe(self.backbone, device):
            raise ConfigError(
                "model.channels_last=true",
                "torch crashes on a CPU with batch norm over fewer than 16 channels in 2D",
                "Leave it out, or take more features: features=16.",
            )
        if self.channels_last == "auto":
            self.channels_last = is_channels_last_faster(self.backbone, device)
        if self.channels_last:
            use_channels_last(self.backbone, self._spatial_dims)

    def forward(self, image: Tensor, **kwargs: Any) -> dict[str, Tensor]:
        """Return the logits of each head, (B, 1, [Z,] Y, X)."""
        return self._all_logits(image)[0]

    def _all_logits(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Return the logits of each head for each output of the network, the finest output first.

        In training with deep supervision a network has several outputs. MONAI's DynUNet stacks them
        along axis 1, all of the image's size. Its SegResNetDS returns a list of outputs of
        different sizes, which are resized to the image.
        """
        if self.channels_last is True:
            image = image.contiguous(memory_format=CHANNELS_LAST[image.ndim - 2])
        features = self.backbone(image)
        if isinstance(features, (list, tuple)):
            mode = "bilinear" if image.ndim == 4 else "trilinear"
            outputs = [nn.functional.interpolate(f, image.shape[2:], mode=mode) for f in features]
        else:
            outputs = list(features.unbind(1)) if features.ndim > image.ndim else [features]
        return [
            {
                name: head(output[:, channel : channel + 1])
                for channel, (name, head) in enumerate(self.task_heads.items())
            }
            for output in outputs
        ]

    def head(self, name: str) -> Any:
        """Return a head: a module with ``loss``, ``loss_weight`` and ``probability``."""
        return self.task_heads[name]

    def losses(self, logits: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each head, and ``loss``: their weighted sum. All are scalars."""
        found = {}
        for channel, name in enumerate(self.task_heads):
            target = batch["target"][:, channel : channel + 1]
            found[name] = self.head(name).loss(logits[name], target, batch["weight"])
        parts = [self.head(name).loss_weight * found[name] for name in found]
        return {**found, "loss": torch.stack(parts).sum()}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return ``loss`` and ``dice`` of a batch of patches; log the loss.

        The means over the epoch are logged at its end.
        """
        outputs = self._all_logits(batch["image"])
        losses = [self.losses(logits, batch) for logits in outputs]
        # each coarser output has half the weight of the finer one before it (nnU-Net)
        weights = [0.5**depth for depth in range(len(outputs))]
        weighted = [weight * one["loss"] for weight, one in zip(weights, losses, strict=True)]
        loss = torch.stack(weighted).sum() / sum(weights)
        dice = self._dice(outputs[0], batch)
        size = len(batch["image"])
        scores = _metric_names("train", {**losses[0], "loss": loss}) | {"train/dice": dice}
        self.epoch_means.add(scores, size)
        self.log("train/loss_step", loss, on_step=True, on_epoch=False, batch_size=size)
        return {"loss": loss, "dice": dice}

    def on_train_epoch_start(self) -> None:
        """Start the means of the epoch."""
        self.epoch_means.reset()

    def on_train_epoch_end(self) -> None:
        """Log the means of the epoch, also of the batches before it was resumed."""
        means = self.epoch_means.means(self._gather)
        self.epoch_means.reset()
        self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True)

    @property
    def _gather(self) -> Any:
        """A function that returns a tensor of all processes; None with one process."""
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        return self.all_gather if several else None

    def _dice(self, logits: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the Dice of a batch of patches; with classes, the mean of those in the batch."""
        counted = batch["weight"] > 0
        names = list(self.task_heads)[: max(len(self.class_counts.names), 1)]
        predicted = torch.cat([logits[name] for name in names], 1).gt(0) & counted
        true = batch["target"][:, : len(names)].gt(0.5) & counted
        axes = [0, *range(2, true.ndim)]
        total = predicted.sum(axes) + true.sum(axes)
        dice = 2.0 * (predicted & true).sum(axes)[total > 0] / total[total > 0]
        return dice.mean() if len(dice) else torch.ones((), device=total.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Score one whole image: loss, and Dice and IoU of probability > 0.5.

        With classes, only voxels are counted here; `on_validation_epoch_end` logs their scores.

        Returns
        -------
        dict of str to Tensor
            Probability map of each head, (B, 1, [Z,] Y, X) in [0, 1].
        """
        logits = self.inferer(batch["image"], self)
        scores = _metric_names("val", self.losses(logits, batch))
        maps = {name: self.head(name).probability(logits[name]) for name in self.task_heads}
        counted = batch["weight"] > 0
        # 0 where another process scores this image. A float: Lightning truncates the mean of
        # integers over processes.
        image_count: Any = float(batch.get("counts", True))
        means: Any = {"on_step": False, "on_epoch": True, "sync_dist": True}
        means["batch_size"] = image_count
        if self.class_counts.names:
            if image_count:
                self.class_counts.add(list(maps.values()), batch["target"], counted)
            self.log_dict(scores, **means)
            return maps
        predicted = (next(iter(maps.values())) > 0.5) & counted
        true = (batch["target"][:, :1] > 0.5) & counted
        both, either = (predicted & true).sum(), (predicted | true).sum()
        total = predicted.sum() + true.sum()
        # 1 for an image without foreground in which none is predicted
        scores["val/dice"] = torch.where(total > 0, 2.0 * both / total.clamp(min=1), 1.0)
        scores["val/iou"] = torch.where(total > 0, both / either.clamp(min=1), 1.0)
        self.log_dict(scores, **means)
        return maps

    def on_validation_epoch_start(self) -> None:
        """Reset the voxel counts of classes."""
        self.class_counts.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of classes over the voxels of all images in all processes."""
        if not self.class_counts.names:
            return
        counts = self.class_counts.voxels
        if self.trainer.world_size > 1:
            gathered: Any = self.all_gather(counts.to(self.device))
            counts = gathered.sum(0).cpu()
        self.log_dict(self.class_counts.scores(counts), rank_zero_only=False)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the scheduler that is stepped after every optimizer step."""
        groups: Any = list(self.parameters())
        if self.layer_decay < 1:
            lr = self.optimizer([nn.Parameter(torch.zeros(1))]).defaults["lr"]
            groups = layer_decay_groups(self.backbone, lr, self.layer_decay)
        optimizer = self.optimizer(groups)
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer=optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the scheduler; set `BudgetSchedule.spent` first."""
        if hasattr(scheduler, "spent"):
            # clocks of processes differ: all take the rate of the first
            scheduler.spent = self.trainer.strategy.broadcast(self.budget_spent())
        scheduler.step()

    def budget_spent(self) -> float:
        """Return the fraction of the training budget (steps or minutes) that is used up, 0 to 1."""
        callbacks: Any = getattr(self.trainer, "callbacks", [])
        fractions = []
        for timer in (callback for callback in callbacks if isinstance(callback, Timer)):
            left = timer.time_remaining()
            if left is not None:
                elapsed = timer.time_elapsed()
                fractions.append(elapsed / max(elapsed + left, 1e-9))
        steps = self.trainer.estimated_stepping_batches  # infinite if only minutes limit it
        fractions.append(self.trainer.global_step / max(steps, 1))
        return min(max(fractions), 1.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the version of CytoLoop and the means of the epoch to a checkpoint."""
        means = self.epoch_means.state_dict(self._gather)
        checkpoint["cytoloop"] = {"version": __version__, "schema": 1, "epoch_means": means}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the means of an epoch; checkpoints of earlier versions have none."""
        if means := checkpoint.get("cytoloop", {}).get("epoch_means"):
            self.epoch_means.load_state_dict(means, self.trainer.is_global_zero)


def _is_config(part: Any) -> bool:
    """Return whether a part is a config with ``_target_``, or a mapping of such configs."""
    if not isinstance(part, Mapping) and not OmegaConf.is_config(part):
        return False
    return "_target_" in part or all(_is_config(item) for item in part.values())


def _to_plain(part: Any) -> Any:
    """Return a config as plain Python values with interpolations resolved."""
    return OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part


def _metric_names(stage: str, losses: dict[str, Tensor]) -> dict[str, Any]:
    """Return losses by the name of their metric; with one head only the sum."""
    if len(losses) == 2:
        return {f"{stage}/loss": losses["loss"]}
    return {
        f"{stage}/loss" if name == "loss" else f"{stage}/loss_{name}": value
        for name, value in losses.items()
    }
