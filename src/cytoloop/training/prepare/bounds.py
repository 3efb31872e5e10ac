"""The knobs of a training: which values they may have. Every wrong one is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO, Bounds, raise_faults
from cytoloop.data.settings import setting_faults
from cytoloop.intensity.normalization import rule_faults

LAYERS = (2, 6)
"""Fewest and most levels of a network."""
KNOBS = (
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
SHARE = Bounds("loss_weight", 0, 1000, whole=False)
LOSS_KNOBS = {
    knob.key: knob
    for knob in (
        Bounds("dice", 0, 1000, whole=False),
        Bounds("cross_entropy", 0, 1000, whole=False),
        Bounds("false_positives", 0, 1, whole=False),
        Bounds("false_negatives", 0, 1, whole=False),
        Bounds("gamma", 0, 10, whole=False),
        Bounds("thickness", 1, 64),
        Bounds("background", 0, 0.99, whole=False),
        Bounds("power", 0.1, 4, whole=False),
        Bounds("gap_weight", 1, 100, whole=False),
        Bounds("gap_radius", 1, 16),
    )
}
"""Arguments of the losses of `cytoloop.model.losses`; another library's know their own bounds."""
SWITCHES = {"model.compile": "true or false", "model.channels_last": "true, false or auto"}
_ABSENT = object()


def check_knobs(cfg: DictConfig) -> None:
    """Refuse values beyond their bounds, before any image is read.

    Raises
    ------
    ConfigError
        Every one of them, with the nearest value that is allowed.
    """
    faults = [
        (knob.key, fault)
        for knob in KNOBS
        if (value := OmegaConf.select(cfg, knob.key, default=_ABSENT)) is not _ABSENT
        and (fault := knob.fault(value)) is not None
    ]
    faults += [
        (key, f"is {value!r}, expected {allowed}")
        for key, allowed in SWITCHES.items()
        if not isinstance(value := OmegaConf.select(cfg, key, default=False), bool)
        and not (value == AUTO and AUTO in allowed)
    ]
    levels = cfg.get("normalization") or OmegaConf.create()
    rule: Any = OmegaConf.to_container(levels, resolve=True)
    faults += head_faults(OmegaConf.select(cfg, "model.task_heads"))
    faults += [(f"normalization.{key}", fault) for key, fault in rule_faults(rule, AUTO)]
    if cfg.get("encoder_weights") and cfg.get("init_from"):
        faults.append(("encoder_weights", "is given with init_from; a network has one start"))
    faults += setting_faults(cfg.data)
    raise_faults(faults, "See docs/configs.md, `Knobs`.")


def head_faults(heads: Any) -> Iterator[tuple[str, str]]:
    """Yield each key of a head's share and loss that is beyond its bounds, and what is wrong."""
    for name, head in _items(heads):
        for part, value in _items(head):
            key = f"model.task_heads.{name}.{part}"
            if part == "loss_weight" and (fault := SHARE.fault(value)) is not None:
                yield key, fault
            elif part == "loss":
                yield from _loss_faults(key, value)


def _loss_faults(key: str, loss: Any) -> Iterator[tuple[str, str]]:
    """Yield the faults of one loss, and of those that it adds up."""
    values = dict(_items(loss))
    if not str(values.get("_target_")).startswith("cytoloop.model.losses."):
        return
    bounds = [(name, value, LOSS_KNOBS.get(name)) for name, value in values.items()]
    bounds += [
        (f"loss_weights.{name}", value, SHARE) for name, value in _items(values.get("loss_weights"))
    ]
    for name, value, knob in bounds:
        if knob is not None and (fault := knob.fault(value)) is not None:
            yield f"{key}.{name}", fault
    for name, part in _items(values.get("losses")):
        yield from _loss_faults(f"{key}.losses.{name}", part)


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping; of anything else none: what builds it says what is wrong."""
    if isinstance(node, DictConfig):
        yield from ((str(key), value) for key, value in node.items())
