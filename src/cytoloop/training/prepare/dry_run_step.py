"""The tiny step of the dry run: random patches through network, losses, window and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.map_names import map_names
from cytoloop.intensity.preparation import KEY, Preparation
from cytoloop.io.pixels import MemoryPixels, read_whole
from cytoloop.model.architecture import build_architecture
from cytoloop.model.gathered_loss import GatheredLoss, neighbours_error
from cytoloop.model.module import SegmentationModule
from cytoloop.model.trust import build_preparation
from cytoloop.training.prepare.config import value_of
from cytoloop.training.prepare.dry_run_faults import Faults


def try_step(
    faults: Faults, model: SegmentationModule, cfg: DictConfig, largest: Sequence[int]
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


def gathered_losses(model: SegmentationModule) -> Iterator[tuple[str, GatheredLoss]]:
    """Yield the key of each loss that knows no excluded voxels, and the loss."""
    for name in model.task_heads:
        for part in model.head(name).loss.modules():
            if isinstance(part, GatheredLoss):
                yield f"model.task_heads.{name}.loss", part


def check_neighbours(
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


def check_preparation(preparation: Preparation, cfg: DictConfig) -> None:
    """Prepare a tiny image, also with the functions that prediction would build.

    Raises
    ------
    CytoloopError
        A length is in um and the voxel size unknown; a function fails, changes the shape, or must
        not be built.
    """
    shape = (int(cfg.in_channels), *value_of(cfg, "data.patch_size"))
    image = np.random.default_rng(0).random(shape, np.float32)
    spacing = value_of(cfg, "model.image.spacing_um")
    if preparation.in_um and not spacing:
        raise ConfigError(
            KEY,
            "has a length in um, but the voxel size of the images is unknown",
            "State it in the column spacing_um, or lengths in voxels (radius, sigma).",
        )
    pixels = MemoryPixels(image, spacing and tuple(spacing), [str(c) for c in range(shape[0])])
    rebuilt = build_preparation(KEY, preparation.steps)
    for one in (preparation, rebuilt):
        if one is not None:
            one.apply(read_whole(one.filter(KEY, pixels)[0]))
