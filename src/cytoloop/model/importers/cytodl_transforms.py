"""CytoDL's image transforms, converted to a normalization rule of CytoLoop, or refused."""

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
"""Transforms that leave grey levels and voxels unchanged."""

_MIN_ZOOM = 0.01


def find_normalization(
    where: Path | None, config: Mapping[str, Any], channels: int
) -> dict[str, Any] | None:
    """Return the normalization rule that is equal to the transforms of a CytoDL config.

    Parameters
    ----------
    where : Path
        The config, for the error message.
    config : mapping
        Its transforms for prediction are used; without them those for validation, then for test.
    channels : int
        Input channels of the network.

    Returns
    -------
    dict or None
        A rule of `cytoloop.intensity.normalization`. None if the config has no transforms.

    Raises
    ------
    ModelError
        A transform has no equal rule, or images were normalized more than once.
    """
    steps = _prediction_steps(config)
    if steps is None:
        return None
    rules: list[dict[str, Any]] = []
    unknown: list[str] = []
    for step in steps:
        name = str(step.get("_target_", "")).rpartition(".")[2]
        if name in _NEUTRAL or (not rules and _zoom_factor(name, step)):
            continue
        rule = _convert(name, step, channels)
        if rule is None:
            given = ", ".join(f"{k}={v}" for k, v in step.items() if k not in ("_target_", "keys"))
            unknown.append(f"{name}({given})"[:160])
        else:
            rules.append(rule)
    if unknown or len(rules) > 1:
        raise ModelError(
            str(where),
            [f"images were transformed by {step}, which CytoLoop does not do" for step in unknown]
            or [f"images were normalized {len(rules)} times, expected once"],
            "Predict with CytoDL, or train a model with `cytoloop train`.",
        )
    return rules[0] if rules else {"method": "none"}


def find_zoom(config: Mapping[str, Any], spatial_dims: int) -> list[float] | None:
    """Return the factors [Z,] Y, X by which a CytoDL config zooms images, None if it does not.

    `find_normalization` refuses a ``Zoomd`` that cannot be done in prediction.
    """
    found = [1.0] * spatial_dims
    for step in _prediction_steps(config) or ():
        name = str(step.get("_target_", "")).rpartition(".")[2]
        if factor := _zoom_factor(name, step):
            factors = factor if isinstance(factor, list) else [factor] * spatial_dims
            found = [a * float(b) for a, b in zip(found, factors, strict=True)]
    return None if all(factor == 1 for factor in found) else found


def _prediction_steps(config: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the transforms for prediction, else for validation or test; None without any."""
    steps = None
    for split in ("predict", "valid", "test"):
        steps = steps or lookup(config, f"data.transforms.{split}.transforms")
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        return None
    return steps


def _zoom_factor(name: str, step: Mapping[str, Any]) -> float | list[float] | None:
    """Return the factor or factors of a ``Zoomd`` that averages areas, None for another step."""
    mode, zoom = step.get("mode", "area"), step.get("zoom")
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    numbers = zoom if isinstance(zoom, list) and len(zoom) in (2, 3) else [zoom]
    averages = name == "Zoomd" and mode == "area" and step.get("keep_size") is False
    return zoom if averages and all(_MIN_ZOOM <= _number(n) <= 1 for n in numbers) else None


def trained_channel(config: Mapping[str, Any]) -> int | None:
    """Return the channel of the image files that CytoDL read, None if the config has none."""
    steps = lookup(config, "data.transforms.predict.transforms")
    for step in steps if isinstance(steps, list) else ():
        reader = step.get("reader") if isinstance(step, Mapping) else None
        for one in reader if isinstance(reader, list) else ():
            if isinstance(one, Mapping) and isinstance(one.get("C"), int):
                return int(one["C"])
    return None


def _convert(name: str, step: Mapping[str, Any], channels: int) -> dict[str, Any] | None:
    """Return the rule that is equal to a MONAI transform, None if there is none."""
    by_channel = step.get("channel_wise") is True or channels == 1
    to_one = (step.get("b_min"), step.get("b_max")) == (0, 1) and not step.get("clip")
    if name == "NormalizeIntensityd":
        special = any(step.get(key) for key in ("nonzero", "subtrahend", "divisor"))
        return {"method": "zscore"} if by_channel and not special else None
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
    """Return a number; NaN, for which every comparison is false, if the value is not a number."""
    return float(value) if isinstance(value, (int, float)) else math.nan
