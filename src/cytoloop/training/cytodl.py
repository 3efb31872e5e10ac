"""Lightning's fit of a CytoDL experiment, built as `cyto_dl.train` builds it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, ModelError
from cytoloop.model.importers.cytodl import CONFIG_KEY
from cytoloop.model.shallow_convolutions import replace_convolutions
from cytoloop.terminal import quiet_libraries
from cytoloop.training.callbacks.exact_resume import ExactResume
from cytoloop.training.callbacks.progress import Progress
from cytoloop.training.callbacks.terminate_on_nan import CYTODL_REPAIR, TerminateOnLostWeights
from cytoloop.training.callbacks.tolerant_checkpoint import TolerantModelCheckpoint
from cytoloop.training.checkpoint_io import AtomicCheckpointIO
from cytoloop.training.cytodl_checks import runs_test_stage
from cytoloop.training.cytodl_data import LOADERS
from cytoloop.training.cytodl_transforms import replace_transforms
from cytoloop.training.fit import Parts, runnable
from cytoloop.training.stopping import SaveOnStop, clean_stop

log = logging.getLogger(__name__)


class KeepConfig(Callback):
    """Store the config of the experiment in each checkpoint, so that a single file can predict.

    Parameters
    ----------
    config : mapping
        Resolved; plain values.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the config."""
        checkpoint[CONFIG_KEY] = self.config


class ArrayData(LightningDataModule):
    """Loaders of images in memory.

    Parameters
    ----------
    loaders : mapping of str to DataLoader
        By split: ``train``, ``val``, ``test``.
    """

    def __init__(self, loaders: Mapping[str, Any]) -> None:
        super().__init__()
        self.loaders = loaders

    def train_dataloader(self) -> Any:
        """Return the loader of the training images."""
        return self.loaders["train"]

    def val_dataloader(self) -> Any:
        """Return the loader of the validation images."""
        return self.loaders["val"]

    def test_dataloader(self) -> Any:
        """Return the loader of the test images."""
        return self.loaders["test"]


def fit_cytodl(
    cfg: DictConfig,
    output: Path,
    logger: Logger,
    last: Path | None = None,
    arrays: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, float]:
    """Train a CytoDL experiment.

    Parameters
    ----------
    cfg : DictConfig
        Resolved, with its ``_aux`` nodes.
    output : Path
        Output folder, with ``checkpoints/best.ckpt`` and ``checkpoints/last.ckpt`` at the end.
    logger : Logger
        Logs beside the loggers of the experiment.
    last : Path, optional
        The checkpoint to resume from.
    arrays : mapping of str to sequence, optional
        Images in memory, see `cytoloop.training.cytodl_data.describe_arrays`.

    Returns
    -------
    dict of str to float
        The monitored score of the best checkpoint by its name, and metrics of the test stage.

    Raises
    ------
    ConfigError
        Lightning refuses a value of the config.
    """
    monitor, _ = monitored(cfg)
    with _cache_folder(cfg) as cache, clean_stop():
        if cache:
            cfg = OmegaConf.merge(cfg, {"data": {"cache_dir": cache}})  # type: ignore[assignment]
        try:
            parts = build_cytodl(cfg, output, logger, arrays)
            ckpt_path = _load_weights(parts.model, cfg, last)
            parts.trainer.fit(parts.model, datamodule=parts.data, ckpt_path=ckpt_path)
            best: Any = getattr(parts.trainer.checkpoint_callback, "best_model_score", None)
            scores = {} if best is None or monitor is None else {monitor: float(best)}
            _check_score(scores, parts.trainer)
            if runs_test_stage(cfg):
                path = output / "checkpoints/best.ckpt"
                found = parts.trainer.test(
                    parts.model, datamodule=parts.data, ckpt_path=str(path) if best else None
                )
                scores |= {k: float(v) for one in found for k, v in one.items()}
        except MisconfigurationException as error:  # a mistake of the user, in Lightning's words
            raise ConfigError("trainer", " ".join(str(error).split()), "") from error
    return scores


def build_cytodl(
    cfg: DictConfig,
    output: Path,
    logger: Logger,
    arrays: Mapping[str, Sequence[Any]] | None = None,
) -> Parts:
    """Build data module, model, callbacks, loggers and trainer in the order of `cyto_dl.train`."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    quiet_libraries()
    if cfg.get("seed"):
        lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    if (cfg.get("extras") or {}).get("precision"):
        instantiate(cfg.extras.precision)
    find_batch_size = cfg.data.get("batch_size") == "AUTO"
    cfg = runnable(cfg)
    if find_batch_size:
        cfg.data.batch_size = 1
    data_cfg: Any = OmegaConf.to_object(cfg.data)
    replace_transforms(data_cfg)
    for split, images in (arrays or {}).items():
        data_cfg[split + LOADERS]["data"] = list(images)
    data: Any = instantiate(data_cfg)
    if arrays:
        data = ArrayData({name.removesuffix(LOADERS): loader for name, loader in data.items()})
    if not isinstance(data, LightningDataModule):
        raise ConfigError(
            "data", f"is a {type(data).__name__}, expected a data module", "Choose another data=."
        )
    model: Any = instantiate(cfg.model, _recursive_=False)
    replace_convolutions(model)
    callbacks = [*_our_callbacks(plain, output), *_their_callbacks(cfg, output)]
    callbacks.append(SaveOnStop(output / "checkpoints/last.ckpt"))
    loggers = [instantiate(node) for node in (cfg.get("logger") or {}).values()]
    plugins = [*(instantiate(cfg.trainer.get("plugins") or [])), AtomicCheckpointIO()]
    trainer = instantiate(
        {**dict(cfg.trainer), "enable_progress_bar": False, "plugins": None},
        callbacks=callbacks,
        logger=[logger, *loggers],
        plugins=plugins,
    )
    quiet_libraries()  # CytoDL's modules, imported above, change Lightning's log again
    if find_batch_size:
        found = Tuner(trainer).scale_batch_size(model, datamodule=data, mode="power")
        log.info("data.batch_size=AUTO: %s", found)
    return Parts(data, model, trainer)


def monitored(cfg: DictConfig) -> tuple[str | None, str]:
    """Return name and mode of the metric that selects the best checkpoint; None without one."""
    node = OmegaConf.select(cfg, "callbacks.model_checkpoint") or {}
    return node.get("monitor"), str(node.get("mode") or "min")


def _our_callbacks(config: dict[str, Any], output: Path) -> list[Callback]:
    """Return progress, exact resume and the best checkpoint.

    The best checkpoint comes before CytoDL's, whose last checkpoint saves its state.
    """
    cfg = OmegaConf.create(config)
    monitor, mode = monitored(cfg)
    folder = output / "checkpoints"
    found: list[Callback] = [
        TerminateOnLostWeights(),
        KeepConfig(config),
        Progress(output / "progress.jsonl", monitor or "val/loss", mode),
        ExactResume(),
    ]
    if monitor:
        found.append(
            TolerantModelCheckpoint(
                tolerance=0,
                dirpath=folder,
                filename="best",
                monitor=monitor,
                mode=mode,
                enable_version_counter=False,
            )
        )
    return found


def _their_callbacks(cfg: DictConfig, output: Path) -> list[Callback]:
    """Return the callbacks of the experiment without progress bars, which ours replaces.

    A checkpoint callback is added if none of them writes ``checkpoints/last.ckpt``.
    """
    folder = output / "checkpoints"
    found: list[Callback] = []
    for node in (cfg.get("callbacks") or {}).values():
        if node is None or "_target_" not in node:
            continue
        if str(node._target_).endswith("ModelCheckpoint"):
            OmegaConf.update(node, "enable_version_counter", False, force_add=True)
        callback = instantiate(node)
        if not isinstance(callback, ProgressBar):
            found.append(callback)
    writes_last = any(
        isinstance(one, ModelCheckpoint)
        and one.save_last
        and one.dirpath is not None
        and Path(one.dirpath).resolve() == folder.resolve()
        for one in found
    )
    if not writes_last:
        found.append(ModelCheckpoint(dirpath=folder, filename="last", enable_version_counter=False))
    return found


def _load_weights(model: LightningModule, cfg: DictConfig, last: Path | None) -> str | None:
    """Load ``checkpoint.ckpt_path`` as CytoDL does; return the checkpoint for Lightning to resume.

    Raises
    ------
    ConfigError
        ``strict=false`` without ``weights_only=true``, or the weights do not fit.
    """
    if last is not None:
        return str(last)
    start = cfg.get("checkpoint") or {}
    path = start.get("ckpt_path")
    if not path:
        return None
    if not start.get("weights_only"):
        if not start.get("strict", True):
            raise ConfigError(
                "checkpoint.strict=false",
                "works only for weights",
                "Add checkpoint.weights_only=true.",
            )
        return str(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(content["state_dict"], strict=bool(start.get("strict", True)))
    except (KeyError, RuntimeError) as error:
        raise ConfigError(
            f"checkpoint.ckpt_path={path}",
            str(error).splitlines()[-1].strip(),
            "Give a checkpoint of a model with the same network and heads.",
        ) from error
    return None


def _check_score(scores: dict[str, float], trainer: Trainer) -> None:
    """Refuse a training whose monitored score was never a finite number.

    Raises
    ------
    ModelError
    """
    for name, value in scores.items():
        if not math.isfinite(value):
            raise ModelError(
                name,
                f"was {value} in the best of {trainer.current_epoch} epochs: the training "
                "diverged, or validation fails on its images",
                CYTODL_REPAIR,
            )


def _cache_folder(cfg: DictConfig) -> Any:
    """Return a context that yields a temporary cache folder, or None if the config keeps its own.

    CytoDL's cache knows no changes of files, so a kept one can be out of date.
    """
    folder = cfg.data.get("cache_dir")
    if folder is None or cfg.get("persist_cache", False):
        return nullcontext(None)
    Path(str(folder)).mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(dir=str(folder))
