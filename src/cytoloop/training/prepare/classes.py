"""Semantic classes of a training: a head for each, and truth images that hold them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from cytoloop.data.class_values import check_class_values, warn_if_classes
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.replay import replay_rows
from cytoloop.data.settings import resampled_spacing
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import Manifest
from cytoloop.training.prepare.config import value_of, with_values
from cytoloop.training.prepare.dataset import DatasetFacts
from cytoloop.truth.classes import class_heads, class_names, parse_class_names
from cytoloop.workers.engine import Engine

_COVERED = 0.999
"""Fraction of foreground from which an image has no background to learn."""


def set_class_heads(cfg: DictConfig) -> DictConfig:
    """Return a config whose model has a head for each of `classes`.

    Each head has the loss of the model's one head (``seg``) in the config. A model without classes
    stays as it is.

    Parameters
    ----------
    cfg : DictConfig
        Composed config of `train` or `check`.

    Raises
    ------
    ConfigError
        Classes for a model that learns none, a model of classes without their names, or names
        that are not valid.
    """
    heads = OmegaConf.select(cfg, "model.image.heads")
    given = value_of(cfg, "classes")
    if not OmegaConf.is_list(heads) or len(heads):  # only model=semantic leaves its heads open
        if given is not None:
            raise ConfigError(
                "classes", "this model does not learn classes", "Add model=semantic to classes=."
            )
        return cfg
    if given is None:
        raise ConfigError(
            "classes",
            "is missing; model=semantic needs the names",
            "Give them in the order of the values 1, 2, ...: classes=[nucleus,spindle].",
        )
    names = parse_class_names(given)
    own = {name: head for name, head in cfg.model.task_heads.items() if name != "seg"}
    if unknown := sorted(set(own) - set(class_heads(names))):
        raise ConfigError(
            "model.task_heads",
            [f"{name}: no such class" for name in unknown],
            f"Expected one of {', '.join(class_heads(names))}.",
        )
    shared = cfg.model.task_heads.seg
    task_heads = {name: copy.deepcopy(shared) for name in class_heads(names)}
    return with_values(
        cfg,
        {
            "model.task_heads": OmegaConf.merge(task_heads, own),
            "model.backbone.out_channels": len(names),
            "model.image.heads": class_heads(names),
        },
    )


def engine_of(cfg: DictConfig) -> Engine | None:
    """Return the engine that the config of `cytoloop check` names; a training has no such key."""
    return Engine.from_config(cfg) if "engine" in cfg else None


def image_cache_of(cfg: DictConfig) -> ImageCache:
    """Return the image cache of a config, once the data set is read.

    It reads truth as classes if the model learns classes, and resamples if the config says so.
    """
    classes = bool(_names_of(cfg))
    wanted = value_of(cfg, "data.resample")
    return ImageCache(
        cfg.data.cache_dir,
        cfg.data.cache_limit_gib,
        classes=classes,
        spacing_um=resampled_spacing(wanted),
        engine=engine_of(cfg),
    )


def check_truth(cfg: DictConfig, dataset: Mapping[str, Manifest]) -> None:
    """Refuse truth images that do not hold what the model's heads learn.

    Parameters
    ----------
    cfg : DictConfig
        With class heads.
    dataset : mapping of str to Manifest

    Raises
    ------
    ManifestError
        See `cytoloop.data.class_values.check_classes`.
    """
    names, heads = _names_of(cfg), value_of(cfg, "data.heads") or ()
    if not names and "distance" not in heads:
        return
    rows, valid = list(dataset["train"]), list(dataset["valid"])
    if OmegaConf.select(cfg, "data.replay_path"):
        rows += replay_rows(cfg.data.replay_path, dataset, cfg.data.get("planes"))
    images = image_cache_of(cfg).entries([*rows, *valid], progress=True)
    if names:
        check_class_values(str(cfg.data.path), images[: len(rows)], images[len(rows) :], names)
    else:
        warn_if_classes(images[: len(rows)])


def check_background(cfg: DictConfig, facts: DatasetFacts) -> None:
    """Refuse labels without background for a model that learns foreground only.

    Raises
    ------
    ManifestError
        Every training image is covered by its labels.
    """
    heads = value_of(cfg, "data.heads") or ()
    if list(heads) != ["foreground"] or facts.least_foreground < _COVERED:
        return
    raise ManifestError(
        str(cfg.data.path),
        f"the labels cover every training image ({facts.least_foreground:.1%} or more), so that a "
        "model of the foreground has nothing to tell apart",
        "Learn objects, with model=instance. If 0 is missing by mistake, correct the labels; if "
        "the mask is inverted, invert it.",
    )


def _names_of(cfg: DictConfig) -> tuple[str, ...]:
    return class_names(value_of(cfg, "data.heads"))
