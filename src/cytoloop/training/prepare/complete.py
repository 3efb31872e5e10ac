"""Complete a config: what the data, the parent model and the hardware decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO
from cytoloop.errors import ConfigError
from cytoloop.intensity.preparation import KEY, complete_steps
from cytoloop.model.hardware import choose_precision
from cytoloop.training.checkpoint_io import find_last_checkpoint
from cytoloop.training.launch import process_count
from cytoloop.training.prepare.config import has_key, value_of, with_values
from cytoloop.training.prepare.dataset import DatasetFacts


def complete(cfg: DictConfig, facts: DatasetFacts, init_from: Path | None = None) -> DictConfig:
    """Return a config that runs as it stands.

    Parameters
    ----------
    cfg : DictConfig
        Config of `train`, planned.
    facts : DatasetFacts
    init_from : Path, optional
        Checkpoint whose weights to start from.

    Raises
    ------
    ConfigError
        A value of the config contradicts the data.
    ModelError
        The run to resume has no readable checkpoint.
    """
    cfg = with_values(cfg, dict(_of_data(cfg, facts)))
    _check_heads(cfg)
    cfg = with_values(cfg, dict(_of_trainer(cfg)))
    return with_values(cfg, dict(_of_start(cfg, init_from)))


def _of_data(cfg: DictConfig, facts: DatasetFacts) -> Iterator[tuple[str, Any]]:
    """Yield the values that the images decide.

    Raises
    ------
    ConfigError
        The config states another number of axes or channels.
    """
    for key, found in (("spatial_dims", facts.spatial_dims), ("in_channels", len(facts.channels))):
        if cfg[key] not in (None, found):
            raise ConfigError(
                key, f"is {cfg[key]} but the images have {found}", f"Leave {key} out."
            )
        yield key, found
    if has_key(cfg, "model.image"):
        yield "model.image.channel_names", list(facts.channels)
        yield "model.image.spacing_um", list(facts.spacing_um) if facts.spacing_um else None
        if facts.planes:  # prediction then takes stacks plane by plane
            yield "model.image.planes", True
        if value_of(cfg, "data.resample") is not None:  # prediction then resamples as training did
            yield "model.image.resample", True
    if steps := value_of(cfg, KEY):  # the checkpoint states every value
        yield KEY, complete_steps(steps)


def _of_trainer(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Yield the trainer's precision, budget and strategy."""
    trainer = cfg.trainer
    if trainer.precision == AUTO:
        yield "trainer.precision", choose_precision(str(trainer.accelerator))
    if _max_epochs(cfg) == -1:
        yield "trainer.max_epochs", -1
    if cfg.budget_minutes is not None:
        yield "trainer.max_time", _clock(cfg.budget_minutes)
    frozen = "frozen" in cfg.callbacks  # frozen weights get no gradient
    several = process_count(trainer) > 1
    if several and frozen and trainer.get("strategy", AUTO) in (AUTO, "ddp"):
        yield "trainer.strategy", "ddp_find_unused_parameters_true"
    if cfg.get("early_stop"):
        yield (
            "callbacks.early_stop",
            {
                "_target_": "lightning.pytorch.callbacks.EarlyStopping",
                "monitor": "${callbacks.best.monitor}",
                "mode": "${callbacks.best.mode}",
                "patience": cfg.early_stop,
                "check_on_train_epoch_end": False,  # an epoch may have no validation
            },
        )


def _max_epochs(cfg: DictConfig) -> int | None:
    """Return the number of epochs that end a training, -1 if steps or minutes end it."""
    if cfg.trainer.get("max_steps", -1) > 0 or cfg.budget_minutes is not None:
        return -1
    most: int | None = cfg.trainer.get("max_epochs")
    return most


def _of_start(cfg: DictConfig, init_from: Path | None) -> Iterator[tuple[str, Any]]:
    """Yield the callbacks that load weights, or the checkpoint to resume from."""
    if cfg.resume:
        last = find_last_checkpoint(Path(cfg.resume) / "checkpoints", _max_epochs(cfg))
        yield "checkpoint.ckpt_path", str(last)
        return
    if cfg.get("encoder_weights") and init_from is None:
        target = "cytoloop.training.callbacks.pretrained_encoder.PretrainedEncoder"
        yield (
            "callbacks.pretrained_encoder",
            {"_target_": target, "path": str(cfg.encoder_weights)},
        )
    if init_from is not None:
        target = "cytoloop.training.callbacks.warm_start.WarmStart"
        start = {"_target_": target, "path": str(init_from), "strict": cfg.get("strict", True)}
        yield "callbacks.warm_start", start


def _check_heads(cfg: DictConfig) -> None:
    """Refuse a config whose targets, heads and output channels differ.

    Raises
    ------
    ConfigError
        All differences.
    """
    heads = value_of(cfg, "model.image.heads")
    if heads is None:  # not a model of ours
        return
    targets = value_of(cfg, "data.heads")
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
            "Choose with model= what is learned; it sets all of them. Leave these keys out.",
        )


def _clock(minutes: float) -> str:
    """Return a number of minutes as Lightning's DD:HH:MM:SS."""
    seconds = round(float(minutes) * 60)
    days, seconds = divmod(seconds, 86400)
    return f"{days:02d}:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
