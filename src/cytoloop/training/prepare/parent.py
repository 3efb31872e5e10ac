"""The network of a training that starts from another model: that of the model."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from omegaconf import DictConfig

from cytoloop.bounds import AUTO
from cytoloop.errors import ConfigError
from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint, build_network, read_checkpoint
from cytoloop.model.networks import DYNUNET, planned_values
from cytoloop.model.transfer import require_weights
from cytoloop.training.prepare.config import value_of, with_values, without
from cytoloop.training.prepare.plan.choice import FEATURES, LAYERS, PATCH
from cytoloop.training.prepare.plan.file import is_valid

log = logging.getLogger(__name__)

_OF_DATA = ("spatial_dims", "in_channels", "out_channels")
"""Arguments of a network that data and heads decide."""


def read_parent(path: Path) -> Checkpoint:
    """Return the checkpoint to start from; it is read once.

    Raises
    ------
    ModelError
        It cannot be read, or is a graph without weights to train.
    """
    found = _read(path, path.stat().st_mtime_ns)
    require_weights(str(path), found.backbone)
    return found


@lru_cache(maxsize=1)
def _read(path: Path, modified: int) -> Checkpoint:
    return read_checkpoint(path)


def check_dimensions(cfg: DictConfig, dims: int, path: Path) -> None:
    """Refuse a 2D model to start from for stacks, and a 3D model for 2D images.

    Parameters
    ----------
    cfg : DictConfig
    dims : int
        Dimensions of the images, 2 or 3.
    path : Path
        Checkpoint to start from.

    Raises
    ------
    ConfigError
    """
    there = read_parent(path).image.get("spatial_dims") if cfg.strict else None
    if there in (None, dims):
        return
    kinds = {2: "2D images", 3: "stacks"}
    raise ConfigError(
        f"init_from={cfg.init_from}",
        f"was trained on {kinds[int(there)]}, but the data set holds {kinds[dims]}",
        "data.planes=true trains on the planes of the stacks. Or start from a model of stacks, for "
        "nuclei init_from=pretrained:nuclei_3d, or train anew."
        if there == 2
        else "Start from a model of 2D images, for nuclei init_from=pretrained:nuclei_2d, or train "
        "anew.",
    )


def take_network_of_parent(cfg: DictConfig, path: Path) -> DictConfig:
    """Return a config with the network of the model to start from.

    A network of another class replaces the default one, with its patch size. ``features`` and
    ``layers`` are those of the model. With ``strict=false`` the config's network stays, and takes
    the weights that fit. A network that the config states stays as well.

    Parameters
    ----------
    cfg : DictConfig
        Config of `train`, not planned.
    path : Path
        Checkpoint to start from.

    Raises
    ------
    ModelError
        The file names a class that is not trusted, or weights that do not fit it.
    """
    own = value_of(cfg, "model.backbone") or {}
    target = str(own.get("_target_"))
    stated = [k for k, v in own.items() if k not in ("_target_", *_OF_DATA) and v != AUTO]
    parent = read_parent(path)
    if not cfg.strict or stated:
        return cfg
    if str(parent.backbone.get("_target_")).rpartition(".")[2] == target.rpartition(".")[2]:
        return _with_sizes_of(cfg, parent, target)
    if target != DYNUNET:
        return cfg
    build_network(parent)  # refuses a class that is not trusted: the config's classes are
    arguments = {k: v for k, v in parent.backbone.items() if k not in _OF_DATA}
    log.info("%s: its network is used, %s", path, describe(parent.backbone))
    cfg = without(cfg, "model.backbone", [k for k in own if k not in ("_target_", *_OF_DATA)])
    cfg = with_values(cfg, {f"model.backbone.{k}": v for k, v in arguments.items()})
    if value_of(cfg, PATCH) == AUTO:
        cfg = with_values(cfg, {PATCH: list(parent.image["patch_size"])})
    return cfg


def take_holes_of_parent(cfg: DictConfig, path: Path) -> DictConfig:
    """Return a config that keeps the holes of objects if the model to start from does.

    A value that the config states stays.
    """
    key = "postprocess.fill_holes"
    if value_of(cfg, key) != AUTO or read_parent(path).image.get("fill_holes") is not False:
        return cfg
    log.info("%s=false: as in the training of %s", key, path)
    return with_values(cfg, {key: False})


def _with_sizes_of(cfg: DictConfig, parent: Checkpoint, target: str) -> DictConfig:
    """Return a config with the features and layers of a model of the same class."""
    found = planned_values({**parent.backbone, "_target_": target})
    changed = {
        key: found[key]
        for key in (FEATURES, LAYERS)
        if is_valid(key, found.get(key)) and value_of(cfg, key) not in (AUTO, None, found[key])
    }
    for key, value in changed.items():
        log.warning(
            "%s=%s is not used: the model to start from has %s", key, value_of(cfg, key), value
        )
    return with_values(cfg, changed)
