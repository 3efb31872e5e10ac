"""Complete a config: what the data and the hardware decide."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig, OmegaConf, open_dict

from cytoloop.errors import ConfigError
from cytoloop.io.voxel_size import Spacing
from cytoloop.model.hardware import choose_precision
from cytoloop.training.checkpoint_io import find_last_checkpoint
from cytoloop.training.processes import process_count


class DataFacts(Protocol):
    """What the data says and the network must know (see `cytoloop.training.prepare.dataset`)."""

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels."""

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size (Z, Y, X)."""


def complete_config(cfg: DictConfig, facts: DataFacts, init_from: Path | None = None) -> None:
    """Fill in what the data and the hardware decide; the config then runs as it stands.

    Parameters
    ----------
    cfg : DictConfig
        Composed `train` config; changed in place.
    facts : DataFacts
    init_from : Path, optional
        Checkpoint whose weights to start from.

    Raises
    ------
    ConfigError
        A value of the config contradicts the data.
    ModelError
        The run to resume has no sound checkpoint.
    """
    for key, found in (("spatial_dims", facts.spatial_dims), ("in_channels", len(facts.channels))):
        if cfg[key] not in (None, found):
            raise ConfigError(
                key, f"is {cfg[key]} but the images have {found}", f"Leave {key} out."
            )
        cfg[key] = found
    _check_heads(cfg)
    several = process_count(cfg.trainer) > 1
    with open_dict(cfg):
        if "image" in cfg.model:
            cfg.model.image.channel_names = list(facts.channels)
            cfg.model.image.spacing_um = list(facts.spacing_um) if facts.spacing_um else None
        if cfg.trainer.precision == "auto":
            cfg.trainer.precision = choose_precision(str(cfg.trainer.accelerator))
        if cfg.trainer.get("max_steps", -1) > 0:
            cfg.trainer.max_epochs = -1
        if cfg.budget_minutes is not None:
            cfg.trainer.max_time = _clock(cfg.budget_minutes)
            cfg.trainer.max_epochs = -1
        frozen = "frozen" in cfg.callbacks  # what is frozen gets no gradient
        if several and frozen and cfg.trainer.get("strategy", "auto") in ("auto", "ddp"):
            cfg.trainer.strategy = "ddp_find_unused_parameters_true"
        if cfg.get("early_stop"):
            cfg.callbacks.early_stop = {
                "_target_": "lightning.pytorch.callbacks.EarlyStopping",
                "monitor": "${callbacks.best.monitor}",
                "mode": "${callbacks.best.mode}",
                "patience": cfg.early_stop,
                "check_on_train_epoch_end": False,  # an epoch may have no validation
            }
        if cfg.get("encoder_weights") and init_from is None and not cfg.resume:
            start = {"_target_": "cytoloop.training.callbacks.pretrained_encoder.PretrainedEncoder"}
            cfg.callbacks.pretrained_encoder = start | {"path": str(cfg.encoder_weights)}
        if init_from is not None and not cfg.resume:
            target = "cytoloop.training.callbacks.warm_start.WarmStart"
            start = {"_target_": target, "path": str(init_from), "strict": cfg.get("strict", True)}
            cfg.callbacks.warm_start = start
        if cfg.resume:
            cfg.checkpoint.ckpt_path = str(find_last_checkpoint(Path(cfg.resume) / "checkpoints"))


def _check_heads(cfg: DictConfig) -> None:
    """Refuse targets, heads and channels that are not each other's.

    Raises
    ------
    ConfigError
        All that differ.
    """
    heads = OmegaConf.select(cfg, "model.image.heads")
    if heads is None:  # a model that is not ours
        return
    targets = OmegaConf.select(cfg, "data.heads")
    channels = OmegaConf.select(cfg, "model.backbone.out_channels")
    problems = []
    if targets is not None and list(targets) != list(heads):
        problems.append(f"data.heads is {list(targets)}")
    if (count := len(OmegaConf.select(cfg, "model.task_heads") or heads)) != len(heads):
        problems.append(f"model.task_heads has {count} heads")
    if isinstance(channels, int) and channels != len(heads):
        problems.append(f"model.backbone.out_channels is {channels}")
    if problems:
        raise ConfigError(
            "model.image.heads",
            [f"is {list(heads)}, but {problem}" for problem in problems],
            "Choose what is learned with model=, which sets them alike; leave these out.",
        )


def _clock(minutes: float) -> str:
    """Return Lightning's DD:HH:MM:SS of a number of minutes."""
    seconds = round(float(minutes) * 60)
    days, seconds = divmod(seconds, 86400)
    return f"{days:02d}:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
