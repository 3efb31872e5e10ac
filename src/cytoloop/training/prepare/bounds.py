"""The knobs of a training: which values they may have. Every wrong one is told at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.intensity.normalization import rule_faults

LAYERS = (2, 6)
"""Fewest and most levels of a network."""
AUTO = "auto"
"""The value that leaves a key to the plan."""


@dataclass(frozen=True)
class Knob:
    """A number that the user may set.

    Attributes
    ----------
    key : str
    low, high : float
        Both are allowed.
    whole : bool
        A whole number.
    also : tuple
        Other values that are allowed.
    """

    key: str
    low: float
    high: float
    whole: bool = True
    also: tuple[Any, ...] = ()

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, with the nearest one that is allowed; else None."""
        if any(value is one or (one is not None and value == one) for one in self.also):
            return None
        kind = "a whole number" if self.whole else "a number"
        span = f"{self.low:.10g} to {self.high:.10g}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            found = "null" if value is None else repr(value)
            return f"is {found}, expected {kind}, {span}"
        nearest = min(max(value, self.low), self.high) if value == value else self.low
        if self.whole:
            nearest = round(nearest)
        return None if nearest == value else f"is {value}, expected {span}; nearest: {nearest:.10g}"


KNOBS = (
    Knob("features", 4, 256, also=(AUTO,)),
    Knob("layers", *LAYERS, also=(AUTO,)),
    Knob("data.batch_size", 1, 256, also=(AUTO,)),
    Knob("data.patches_per_image", 1, 1000, also=(None,)),
    Knob("data.steps_per_epoch", 1, 1_000_000, also=(None,)),
    Knob("model.optimizer.lr", 1e-6, 0.1, whole=False),
    Knob("budget_minutes", 0.02, 100_000, whole=False, also=(None,)),
    Knob("early_stop", 1, 10_000, also=(None,)),
    Knob("callbacks.validation_budget.fraction", 0.01, 1, whole=False),
    Knob("callbacks.best.tolerance", 0, 0.5, whole=False),
    Knob("trainer.accumulate_grad_batches", 1, 1000),
    Knob("trainer.gradient_clip_val", 0, 1000, whole=False, also=(None,)),
    Knob("trainer.max_epochs", 1, 100_000, also=(None, -1)),
    Knob("trainer.max_steps", 1, 100_000_000, also=(-1,)),
)
SHARE = Knob("loss_weight", 0, 1000, whole=False)
LOSS_KNOBS = {
    knob.key: knob
    for knob in (
        Knob("lambda_dice", 0, 1000, whole=False),
        Knob("lambda_ce", 0, 1000, whole=False),
        Knob("alpha", 0, 1, whole=False),
        Knob("beta", 0, 1, whole=False),
        Knob("gamma", 0, 10, whole=False),
        Knob("iterations", 1, 64),
        Knob("background_weight", 0, 0.99, whole=False),
        Knob("power", 0.1, 4, whole=False),
        Knob("gap_weight", 1, 100, whole=False),
        Knob("gap_radius", 1, 16),
    )
}
"""Arguments of the losses of `cytoloop.model.losses`; another library's know their own bounds."""
SWITCHES = {"model.compile": "true or false", "model.channels_last": "true, false or auto"}
PLANE = Knob("data.patch_size", 8, 512, also=(None, AUTO))
DEPTH = Knob("data.patch_size", 1, 512, also=(None, AUTO))
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
    faults += [("data.patch_size", fault) for fault in patch_faults(cfg.data.patch_size)]
    faults += [("data.replay_fraction", fault) for fault in replay_faults(cfg.data)]
    if len(faults) == 1:
        raise ConfigError(*faults[0], "See docs/configs.md, `Knobs`.")
    if faults:
        lines = [f"{key} {fault}" for key, fault in faults]
        raise ConfigError("settings", lines, "See docs/configs.md, `Knobs`.")


def patch_faults(patch: Any) -> Iterator[str]:
    """Yield what is wrong with a patch size, whatever the images: a number, or one an axis."""
    if patch is None or patch == AUTO or isinstance(patch, (int, float, bool)):
        if (fault := PLANE.fault(patch)) is not None:
            yield fault
        return
    if not isinstance(patch, Sequence) or isinstance(patch, str) or len(patch) not in (2, 3):
        yield f"is {patch}, expected a number, or one an axis: [Z,Y,X] or [Y,X]"
        return
    for axis, size in zip("ZYX"[-len(patch) :], patch, strict=True):
        if (fault := (DEPTH if axis == "Z" else PLANE).fault(size)) is not None:
            yield f"{axis} {fault}"


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


def replay_faults(data: DictConfig) -> Iterator[str]:
    """Yield what is wrong with the share of replayed patches and the data set they are from."""
    share, path = data.get("replay_fraction", 0.0), data.get("replay_path")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
        yield f"is {share}, expected a share, 0 to below 1"
    elif (share > 0) != (path is not None):
        found = f"is {share} and data.replay_path is {path}"
        yield f"{found}; give both: data.replay_fraction=0.3 data.replay_path=EARLIER_DATASET/"
