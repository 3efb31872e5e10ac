"""How CytoDL prepared images, told by rules of ours (`cytoloop.intensity.normalization`), or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.model.importers.config_references import lookup

_NEUTRAL = {
    *("RemoveNaNKeysd", "LoadImaged", "EnsureChannelFirstd", "EnsureTyped"),
    *("ToTensord", "SelectItemsd", "CastToTyped"),
}
"""Transforms that leave the grey levels and the grid as they are."""


def normalization_of(
    where: Path | None, config: Mapping[str, Any], channels: int
) -> dict[str, Any] | None:
    """Return the rule of ours that does what the transforms of a CytoDL config do.

    None where it tells of no transforms.

    Parameters
    ----------
    where : Path
        Of the config.
    config : mapping
        Its transforms for prediction are taken, those for validation where it has none.
    channels : int
        Of the network's input.

    Raises
    ------
    ModelError
        The images went through something that CytoLoop does not do.
    """
    steps = None
    for split in ("predict", "valid", "test"):
        steps = steps or lookup(config, f"data.transforms.{split}.transforms")
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        return None
    rules, problems = [], []
    for step in steps:
        name = str(step.get("_target_", "")).rpartition(".")[2]
        if name in _NEUTRAL:
            continue
        rule = _rule(name, step, channels)
        if rule is None:
            given = ", ".join(f"{k}={v}" for k, v in step.items() if k not in ("_target_", "keys"))
            problems.append(f"{name}({given})"[:160])
        else:
            rules.append(rule)
    if problems or len(rules) > 1:
        raise ModelError(
            str(where),
            [
                f"images went through {step} before the network, which CytoLoop does not do"
                for step in problems
            ]
            or [f"images were normalised {len(rules)} times"],
            "Predict with CytoDL, or train a model with `cytoloop train`.",
        )
    return rules[0] if rules else {"method": "none"}


def channel_of(config: Mapping[str, Any]) -> str:
    """Return which channel of a file CytoDL read, in words for the log, empty if it is not told."""
    steps = lookup(config, "data.transforms.predict.transforms")
    for step in steps if isinstance(steps, list) else ():
        reader = step.get("reader") if isinstance(step, Mapping) else None
        for one in reader if isinstance(reader, list) else ():
            if isinstance(one, Mapping) and isinstance(one.get("C"), int):
                return f", trained on channel={one['C']} of its files"
    return ""


def _rule(name: str, step: Mapping[str, Any], channels: int) -> dict[str, Any] | None:
    """Return the rule of ours for one transform of MONAI's, None where there is none."""
    by_channel = step.get("channel_wise") is True or channels == 1
    to_one = (step.get("b_min"), step.get("b_max")) == (0, 1) and not step.get("clip")
    if name == "NormalizeIntensityd":
        own = any(step.get(key) for key in ("nonzero", "subtrahend", "divisor"))
        return {"method": "zscore"} if by_channel and not own else None
    if name == "ScaleIntensityd":
        usual = (step.get("minv", 0), step.get("maxv", 1)) == (0, 1) and not step.get("factor")
        return {"method": "minmax"} if by_channel and usual else None
    if name == "ScaleIntensityRanged" and to_one:
        low, high = _number(step.get("a_min")), _number(step.get("a_max"))
        return {"method": "range", "minimum": low, "maximum": high} if low < high else None
    if name == "ScaleIntensityRangePercentilesd" and to_one and not step.get("relative"):
        low, high = _number(step.get("lower")), _number(step.get("upper"))
        if by_channel and 0 <= low < high <= 100:
            return {"method": "percentile", "lower": low, "upper": high}
    return None


def _number(value: Any) -> float:
    """Return a number, NaN (which is below and above nothing) where it is none."""
    return float(value) if isinstance(value, (int, float)) else math.nan
