"""The dry run: every part of a training is built once, and one tiny step is made.

It runs before the MLflow run opens, so that a mistake leaves nothing behind.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, CytoloopError
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.predictor import map_names
from cytoloop.intensity.preparation import Preparation
from cytoloop.model.architecture import build_architecture
from cytoloop.model.gathered_loss import GatheredLoss, neighbours_error
from cytoloop.model.module import SegmentationModule
from cytoloop.model.trust import build_preparation
from cytoloop.terminal import quiet_libraries
from cytoloop.training.callbacks.object_scores import logged_scores
from cytoloop.training.fit import runnable
from cytoloop.training.prepare.config import value_of

_SCORES = ("val/loss", "val/dice", "val/iou", "train/loss")
_NOT_FOUND = "Error locating target"  # how Hydra's message begins
_REPAIR = "See `cytoloop train --cfg job` for the whole config."


class _Faults:
    """The faults of the parts, collected: key of the config and error."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Exception]] = []

    def attempt(self, key: str, action: Callable[[], Any]) -> Any:
        """Return the result of an action; None, and a fault, if it fails."""
        try:
            return action()
        except Exception as error:  # whatever a class says about its arguments
            self.found.append((key, error))
            return None


def build_every_part(
    cfg: DictConfig,
    largest: Sequence[int] = (),
    has_excluded: Callable[[], bool] = lambda: False,
) -> None:
    """Refuse a config of which a part cannot be built or run.

    Data module, model, optimizer, schedule, callbacks, loggers and trainer are built as in a
    training. A callback with a method ``check(model)`` is asked as well; scores in its attribute
    ``logs`` can be monitored. Then random patches go through the network, the losses, the backward
    pass, a window of validation and the post-processing. No image is read.

    Parameters
    ----------
    cfg : DictConfig
        Complete.
    largest : sequence of int
        Largest size of all images along each axis, [Z,] Y, X; empty where it is not known.
    has_excluded : callable
        Returns whether voxels of the data set are excluded. Only called for a loss that needs
        neighbours.

    Raises
    ------
    CytoloopError
        The only fault, if it is one of ours.
    ConfigError
        All faults at once.
    """
    quiet_libraries()
    cfg = runnable(cfg)
    faults = _Faults()

    def build(key: str, **more: Any) -> Any:
        node = OmegaConf.select(cfg, key)
        if not OmegaConf.is_dict(node) or "_target_" not in node:
            return None
        return faults.attempt(key, lambda: instantiate(node, **more))

    data = build("data")
    if getattr(data, "preparation", None):
        faults.attempt("preparation.steps", partial(_check_preparation, data.preparation, cfg))
    model = build("model", _recursive_=False)
    if isinstance(model, SegmentationModule):
        made = faults.attempt("model.optimizer", model.configure_optimizers)
        if isinstance(made, dict):
            scheduler = made["lr_scheduler"]["scheduler"]
            faults.attempt("model.lr_scheduler", partial(_check_schedule, scheduler))
        if cfg.model.get("compile"):
            faults.attempt("model.compile", _check_compiler)
    callbacks = {name: build(f"callbacks.{name}") for name in cfg.get("callbacks") or {}}
    logged = [str(score) for one in callbacks.values() for score in getattr(one, "logs", ())]
    for name, callback in callbacks.items():
        key = f"callbacks.{name}"
        if model is not None and hasattr(callback, "check"):
            faults.attempt(key, partial(callback.check, model))
        if isinstance(model, SegmentationModule):
            faults.attempt(key, partial(_check_monitor, key, cfg.callbacks[name], model, logged))
    for name in cfg.get("logger") or {}:
        if not str(value_of(cfg, f"logger.{name}._target_")).startswith(
            ("cytoloop.", "lightning.")
        ):
            build(f"logger.{name}")  # ours open the run
    build("trainer", callbacks=[], logger=False)
    if not faults.found and isinstance(model, SegmentationModule) and not cfg.model.get("compile"):
        _try_step(faults, model, cfg, largest)
        for key, loss in _gathered_losses(model):
            faults.attempt(key, partial(_check_neighbours, key, loss, cfg, has_excluded))
    _raise(faults.found)


def _try_step(
    faults: _Faults, model: SegmentationModule, cfg: DictConfig, largest: Sequence[int]
) -> None:
    """Run random patches through the network, the losses, a validation window and the objects."""
    patch = list(value_of(cfg, "data.patch_size"))
    count = min(int(cfg.data.batch_size), 2)  # batch norm of a single voxel needs two patches
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((count, int(cfg.in_channels), *patch), generator=generator)
    target = torch.rand((count, len(model.task_heads), *patch), generator=generator).round()
    batch = {"image": image, "target": target, "weight": torch.ones(count, 1, *patch)}
    batch["weight"][:, :, ..., :1] = 0  # a loss must work without the excluded voxels
    faults.attempt("model.backbone", lambda: _check_rebuilds(model, cfg))
    output = faults.attempt("model.backbone", lambda: _check_output(model, image))
    if output is None:
        return
    for name, channel in zip(model.task_heads, range(len(model.task_heads)), strict=True):
        key = f"model.task_heads.{name}.loss"
        one = {**batch, "target": target[:, channel : channel + 1]}
        faults.attempt(key, partial(_check_loss, key, model.head(name).loss, output[name], one))
    if faults.found:
        return
    faults.attempt("model", lambda: model.losses(model(image), batch)["loss"].backward())
    model.eval()
    maps = faults.attempt("model.inferer", lambda: _validate(model, image[:1], largest))
    if maps is not None:
        faults.attempt("postprocess", lambda: _postprocess(maps, model, cfg))


def _check_rebuilds(model: SegmentationModule, cfg: DictConfig) -> None:
    """Build the network as prediction does, from the values that the checkpoint keeps.

    Raises
    ------
    CytoloopError, ValueError, RuntimeError
        Its class would be refused, or its weights do not fit.
    """
    if "backbone" not in model.hparams:  # an object, not a config
        return
    weights = model.backbone.state_dict()
    build_architecture("model.backbone", dict(model.hparams["backbone"]), weights).load_state_dict(
        weights
    )


def _check_output(model: SegmentationModule, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the logits of each head.

    Raises
    ------
    ConfigError
        The network cannot take the patch, or its output has another size or other channels.
    """
    size = list(image.shape[2:])
    try:
        found = model.backbone(image)
    except Exception as error:  # whatever the network says about the patch
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise ConfigError(
            "model.backbone",
            f"cannot take a patch of {size}: {reason}",
            "Set another data.patch_size=, or repair the network.",
        ) from error
    finest = found[0] if isinstance(found, (list, tuple)) else found
    if not isinstance(finest, torch.Tensor):
        raise ConfigError(
            "model.backbone", f"returns {type(finest).__name__}", "Return a tensor of logits."
        )
    finest = finest[:, 0] if finest.ndim > image.ndim else finest
    expected = [len(image), len(model.task_heads), *size]
    if list(finest.shape) != expected:
        raise ConfigError(
            "model.backbone",
            f"returns logits of shape {list(finest.shape)}, expected {expected} "
            f"(batch, one channel for each head, {'Z, ' * (len(size) == 3)}Y, X)",
            "Use the argument out_channels, and return logits of the size of the image.",
        )
    return model(image)


def _check_loss(
    key: str, loss: Any, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]
) -> None:
    """Compute a loss and its gradient.

    Raises
    ------
    ConfigError
        It takes a softmax, is not a finite number, or has no gradient.
    """
    for part in loss.modules():
        if isinstance(part, GatheredLoss) and (problem := part.activation_problem()):
            raise ConfigError(key, problem, "Leave it out: each head is one channel of logits.")
    logits = logits.detach().requires_grad_()
    value = loss(logits, batch["target"], batch["weight"])
    if not torch.is_tensor(value) or value.numel() != 1 or not bool(torch.isfinite(value)):
        found = f"is {str(value)[:80]} for a random patch, expected a finite number"
        raise ConfigError(key, found, "The loss gets logits, and targets from 0 to 1.")
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, logits, allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        raise ConfigError(
            key,
            "does not depend on the logits of a random patch",
            "The loss gets one channel of logits for each head, and targets from 0 to 1.",
        )


def _gathered_losses(model: SegmentationModule) -> Iterator[tuple[str, GatheredLoss]]:
    """Yield the key of each loss that knows no excluded voxels, and the loss."""
    for name in model.task_heads:
        for part in model.head(name).loss.modules():
            if isinstance(part, GatheredLoss):
                yield f"model.task_heads.{name}.loss", part


def _check_neighbours(
    key: str, loss: GatheredLoss, cfg: DictConfig, has_excluded: Callable[[], bool]
) -> None:
    """Refuse a loss that needs neighbours if voxels are excluded.

    Raises
    ------
    ConfigError
    """
    if loss.needs_neighbours(int(cfg.spatial_dims)) and has_excluded():
        raise neighbours_error(key, loss.name)


@torch.inference_mode()
def _validate(
    model: SegmentationModule, image: torch.Tensor, largest: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return the maps of a patch, uint8 ([Z,] Y, X) each, in the windows of validation.

    Raises
    ------
    ConfigError
        The network takes only images of the patch size, and images are larger.
    """
    logits = model.inferer(image, model)
    if largest and largest[-1] > image.shape[-1]:
        try:
            model.inferer(torch.cat([image, image], -1)[..., : largest[-1]], model)
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(
                "model.backbone",
                f"takes only images of the patch size {list(image.shape[2:])}, but validation "
                f"uses larger windows: {reason}",
                "Let the network accept images of any size.",
            ) from error
    names = map_names(dict(model.hparams.get("image") or {}))
    heads = (model.head(name).probability(logits[name]) for name in model.task_heads)
    return {
        name: (255 * values[0, 0]).round().to(torch.uint8).numpy()
        for name, values in zip(names, heads, strict=True)
    }


def _postprocess(
    maps: Mapping[str, np.ndarray], model: SegmentationModule, cfg: DictConfig
) -> None:
    """Make objects from the maps of a patch."""
    image = dict(model.hparams.get("image") or {})
    facts = TrainingFacts.from_checkpoint(image)
    settings = PostprocessSettings.from_config(value_of(cfg, "postprocess"))
    spacing = image.get("spacing_um")
    segment_maps(maps, spacing, settings, facts, VolumeStorage().create)


def _check_preparation(preparation: Preparation, cfg: DictConfig) -> None:
    """Prepare a tiny image, also with the functions that prediction would build.

    Raises
    ------
    CytoloopError
        A function fails, changes the shape, or must not be built.
    """
    image = np.random.default_rng(0).random(
        (int(cfg.in_channels), *value_of(cfg, "data.patch_size")), np.float32
    )
    rebuilt = build_preparation("preparation.steps", preparation.steps)
    for one in (preparation, rebuilt):
        if one is not None:
            one.apply(image.copy())


def _check_schedule(scheduler: Any) -> None:
    """Step a schedule once, as after an optimizer step."""
    if hasattr(scheduler, "spent"):
        scheduler.spent = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the missing optimizer step
        scheduler.step()


def _check_compiler() -> None:
    """Compile the smallest function, to see whether the machine can compile at all.

    Raises
    ------
    ConfigError
        It cannot.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=device))
    except Exception as error:  # of many kinds, by compiler and system
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ConfigError(
            "model.compile",
            f"this machine cannot compile: {reason}",
            "Install a C++ compiler (and Triton for a GPU), or leave the key out.",
        ) from error


def _check_monitor(
    key: str, node: Any, model: SegmentationModule, logged: Sequence[str] = ()
) -> None:
    """Refuse a callback that watches a score nothing logs, or looks for the largest loss.

    Raises
    ------
    ConfigError
        The score is unknown, or its mode is wrong.
    """
    values: Mapping[str, Any] = node if OmegaConf.is_dict(node) else {}
    target = str(values.get("_target_"))
    watches = target.startswith(("lightning.", "cytoloop.training.callbacks.tolerant_checkpoint."))
    monitor = values.get("monitor") if watches else None
    if monitor is None:
        return
    known = [*_SCORES, *logged, *(logged_scores() if "distance" in model.task_heads else ())]
    # a head or a class has scores of its own, as val/loss_NAME
    if monitor not in known and not str(monitor).startswith(tuple(f"{one}_" for one in known)):
        raise ConfigError(
            f"{key}.monitor",
            f"{monitor} is not a score of this model",
            f"Expected one of {', '.join(known)}.",
        )
    if "loss" in monitor and values.get("mode") == "max":
        found = f"is max, but the smallest {monitor} is the best"
        raise ConfigError(f"{key}.mode", found, f"Add {key}.mode=min.")


def _raise(faults: list[tuple[str, Exception]]) -> None:
    """Raise the faults: a single one of ours as it is, others as one ConfigError."""
    if not faults:
        return
    causes = [(key, _cause(error)) for key, error in faults]
    if len(causes) == 1 and isinstance(causes[0][1], CytoloopError):
        raise causes[0][1]
    lines = [(where, fault) for key, cause in causes for where, fault in _described(key, cause)]
    last = faults[-1][1]
    if len(lines) == 1:
        raise ConfigError(*lines[0], _REPAIR) from last
    raise ConfigError("config", [f"{where}: {fault}" for where, fault in lines], _REPAIR) from last


def _cause(error: BaseException) -> BaseException:
    """Return the error of a class, or of a name that is not found, inside Hydra's error."""
    while error.__cause__ is not None and not isinstance(error, CytoloopError):
        if str(error).startswith(_NOT_FOUND):
            break
        error = error.__cause__
    return error


def _described(key: str, error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield where each fault of an error is, and what it is."""
    if isinstance(error, CytoloopError):
        yield from ((error.where, problem) for problem in error.problems)
        return
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith(_NOT_FOUND):
        inner = re.search(r"full_key: (\S+)$", text)
        name = text.removeprefix(_NOT_FOUND).partition(", set env var")[0]
        yield (
            f"{_full_key(key, inner)}._target_",
            f"{name.strip()} is not found ({error.__cause__})",
        )
    else:
        yield key, text[:500]


def _full_key(key: str, inner: re.Match[str] | None) -> str:
    """Return the key of a node inside a part, from Hydra's ``full_key``."""
    return f"{key}.{inner[1]}" if inner and inner[1] != key else key
