"""The bounds of every number in a training's config. All faults are reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO, Bounds, raise_faults
from cytoloop.data.settings import setting_faults
from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.intensity.normalization import rule_problems
from cytoloop.intensity.preparation import KEY as STEPS
from cytoloop.intensity.preparation import step_faults
from cytoloop.model import losses
from cytoloop.model.heads import Head
from cytoloop.training.prepare.config import value_of

LAYERS = (2, 6)
"""Fewest and most levels of a network."""

BOUNDS = (
    Bounds("features", 4, 256, also=(AUTO,)),
    Bounds("layers", *LAYERS, also=(AUTO,)),
    Bounds("model.optimizer.lr", 1e-6, 0.1, whole=False),
    Bounds("budget_minutes", 0.02, 100_000, whole=False, also=(None,)),
    Bounds("early_stop", 1, 10_000, also=(None,)),
    Bounds("callbacks.validation_budget.fraction", 0.01, 1, whole=False),
    Bounds("callbacks.best.tolerance", 0, 0.5, whole=False),
    Bounds("trainer.accumulate_grad_batches", 1, 1000),
    Bounds("trainer.gradient_clip_val", 0, 1000, whole=False, also=(None,)),
    Bounds("trainer.max_epochs", 1, 100_000, also=(None, -1)),
    Bounds("trainer.max_steps", 1, 100_000_000, also=(-1,)),
)
SWITCHES = {"model.compile": "true or false", "model.channels_last": "true, false or auto"}
_ABSENT = object()


def check_bounds(cfg: DictConfig) -> None:
    """Refuse values out of their bounds, before any image is read.

    Raises
    ------
    ConfigError
        All faults at once, each with the nearest value that is allowed.
    """
    faults = [
        *_number_faults(cfg),
        *_switch_faults(cfg),
        *head_faults(OmegaConf.select(cfg, "model.task_heads")),
        *_normalization_faults(cfg),
        *((f"{STEPS}{key}", fault) for key, fault in step_faults(value_of(cfg, STEPS))),
        *_start_faults(cfg),
        *setting_faults(cfg.data),
        *_postprocess_faults(cfg),
    ]
    raise_faults(faults, "Take a value that is allowed.")


def _number_faults(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    for bound in BOUNDS:
        value = OmegaConf.select(cfg, bound.key, default=_ABSENT)
        if value is not _ABSENT and (fault := bound.fault(value)) is not None:
            yield bound.key, fault


def _switch_faults(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    for key, allowed in SWITCHES.items():
        value = OmegaConf.select(cfg, key, default=False)
        if not isinstance(value, bool) and not (value == AUTO and AUTO in allowed):
            yield key, f"is {value!r}, expected {allowed}"


def _normalization_faults(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    for key, fault in rule_problems(value_of(cfg, "normalization") or {}, AUTO):
        yield f"normalization.{key}", fault


def _start_faults(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    if cfg.get("encoder_weights") and cfg.get("init_from") not in (None, AUTO, "none"):
        yield "encoder_weights", "is given with init_from; a network has one start"


def _postprocess_faults(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    settings = value_of(cfg, "postprocess")
    if settings is None:
        return
    try:
        PostprocessSettings.from_config(settings)
    except ConfigError as error:
        for problem in error.problems:  # "KEY=VALUE: expected ..." or "KEY: unknown key, ..."
            start, _, fault = problem.partition(": ")
            key, _, value = start.partition("=")
            yield key, f"is {value}, {fault}" if value else fault


def head_faults(heads: Any) -> Iterator[tuple[str, str]]:
    """Yield each key of a head that is out of its bounds, and its fault."""
    for name, head in _items(heads):
        key = f"model.task_heads.{name}"
        yield from _part_faults(key, Head.BOUNDS, dict(_items(head)))
        yield from _loss_faults(f"{key}.loss", dict(_items(head)).get("loss"))


def _loss_faults(key: str, loss: Any) -> Iterator[tuple[str, str]]:
    """Yield the faults of a loss, and of the losses that it adds up."""
    values = dict(_items(loss))
    module, _, name = str(values.get("_target_")).rpartition(".")
    if module != losses.__name__ or not hasattr(losses, name):  # other libraries check their own
        return
    yield from _part_faults(key, getattr(losses, name).BOUNDS, values)
    for part_name, part in _items(values.get("losses")):
        yield from _loss_faults(f"{key}.losses.{part_name}", part)


def _part_faults(
    key: str, bounds: Sequence[Bounds], values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield the faults of a head or a loss; a value may be a mapping of numbers."""
    for bound in bounds:
        value = values.get(bound.key, _ABSENT)
        numbers = _items(value) if isinstance(value, DictConfig) else [("", value)]
        for name, number in numbers:
            if number is not _ABSENT and (fault := bound.fault(number)) is not None:
                yield ".".join(filter(None, (key, bound.key, name))), fault


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping; nothing else has entries, and building it will fail."""
    if isinstance(node, DictConfig):
        yield from ((str(key), value) for key, value in node.items())
