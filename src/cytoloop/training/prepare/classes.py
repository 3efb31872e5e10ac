"""The classes of a config: their heads, and whether the truth images hold them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf, open_dict

from cytoloop.data.class_values import check_class_values, warn_if_classes
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.replay import replay_rows
from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest
from cytoloop.truth.classes import class_heads, class_names, parse_class_names

_HEADS = "model.image.heads"


def settle_classes(cfg: DictConfig) -> None:
    """Give the model a head for each of `classes`; other models are left as they are.

    Each has the loss that the model's one head (``seg``) has in the config.

    Parameters
    ----------
    cfg : DictConfig
        Composed config of `train` or `check`; changed in place.

    Raises
    ------
    ConfigError
        Classes without a model for them, or the reverse; names that cannot be.
    """
    heads = OmegaConf.select(cfg, _HEADS)
    given = OmegaConf.select(cfg, "classes")
    wanted = OmegaConf.is_list(heads) and not len(heads)  # model/semantic leaves them to us
    if not wanted:
        if given is not None:
            raise ConfigError(
                "classes", "this model tells no classes apart", "Add model=semantic to classes=."
            )
        return
    if given is None:
        raise ConfigError(
            "classes",
            "model=semantic needs them",
            "Give their names in the order of the values 1, 2, ...: classes=[nucleus,spindle].",
        )
    names = parse_class_names(OmegaConf.to_object(given) if OmegaConf.is_config(given) else given)
    own = {name: one for name, one in cfg.model.task_heads.items() if name != "seg"}
    if unknown := sorted(set(own) - set(class_heads(names))):
        raise ConfigError(
            "model.task_heads",
            [f"{name}: there is no such class" for name in unknown],
            f"One of {', '.join(class_heads(names))}.",
        )
    head = cfg.model.task_heads.seg
    with open_dict(cfg):
        heads = {name: copy.deepcopy(head) for name in class_heads(names)}
        cfg.model.task_heads = OmegaConf.merge(heads, own)
        cfg.model.backbone.out_channels = len(names)
        cfg.model.image.heads = class_heads(names)


def store_of(cfg: DictConfig) -> ImageCache:
    """Return the image store of a config, with truth read as the model's heads want it."""
    classes = bool(_names_of(cfg))
    return ImageCache(cfg.data.cache_dir, cfg.data.cache_limit_gib, classes=classes)


def check_truth(cfg: DictConfig, dataset: Mapping[str, Manifest]) -> None:
    """Refuse truth that holds other things than the model's heads are to learn.

    Parameters
    ----------
    cfg : DictConfig
        With settled classes.
    dataset : mapping of str to Manifest

    Raises
    ------
    ManifestError
        See `check_class_values`.
    """
    names, heads = _names_of(cfg), OmegaConf.select(cfg, "data.heads") or ()
    if not names and "distance" not in heads:
        return
    rows, valid = list(dataset["train"]), list(dataset["valid"])
    if OmegaConf.select(cfg, "data.replay_path"):
        rows += replay_rows(cfg.data.replay_path, dataset)
    entries = store_of(cfg).entries([*rows, *valid], progress=True)
    if names:
        check_class_values(str(cfg.data.path), entries[: len(rows)], entries[len(rows) :], names)
    else:
        warn_if_classes(entries[: len(rows)])


def _names_of(cfg: DictConfig) -> tuple[str, ...]:
    heads = OmegaConf.select(cfg, "data.heads")
    return class_names(OmegaConf.to_object(heads) if OmegaConf.is_config(heads) else heads)
