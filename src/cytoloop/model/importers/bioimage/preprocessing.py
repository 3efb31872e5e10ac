"""Preprocessing of a package as a rule of `cytoloop.intensity.normalization`.

A step that is equal to a rule of ours becomes this rule. Other steps are kept as they are, see
`cytoloop.intensity.steps`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.intensity.normalization import STEPS

log = logging.getLogger(__name__)

_FLOATS = ("float32", "float64")
_FIXED_EPS = 1e-6
"""Added by the zoo's runner to a fixed standard deviation."""


def read_preprocessing(tensor: Any, where: str) -> tuple[dict[str, Any], str, list[str]]:
    """Return the rule of an input tensor, its dtype, and the parts that are not supported.

    Parameters
    ----------
    tensor : InputTensorDescr
    where : str
        The package, for a warning.
    """
    steps: list[dict[str, Any]] = []
    problems: list[str] = []
    data = tensor.data[0] if isinstance(tensor.data, (list, tuple)) else tensor.data
    dtype = str(data.type)
    last = "float32"  # of what the steps return
    for step in tensor.preprocessing:
        kind = str(step.id)
        if kind == "ensure_dtype":
            last = str(step.kwargs.dtype)
            if steps and last not in _FLOATS:
                problems.append(f"its preprocessing rounds grey levels to {last}")
            continue
        made, fault = _step(kind, step.kwargs, tensor)
        problems += [f"preprocessing {kind}: {fault}"] if fault else []
        if made:
            steps.append(made)
            last = "float32" if last not in _FLOATS else last
        if _is_of_dataset(kind, step.kwargs):
            log.warning(
                "%s: %s is meant for statistics of a whole data set; each image has its own here",
                where,
                kind,
            )
    if not tensor.preprocessing and dtype in _FLOATS:
        last = dtype
    last = last if last in _FLOATS else "float32"
    return _rule(steps, _channels(tensor)), last, problems


def _step(kind: str, kwargs: Any, tensor: Any) -> tuple[dict[str, Any] | None, str]:
    """Return a step of ours, and why it cannot be honoured."""
    if kind == "zero_mean_unit_variance":
        joint, fault = _joint(kwargs.axes, tensor)
        return {"name": "zscore", "eps": float(kwargs.eps), "joint": joint}, fault
    if kind == "scale_range":
        joint, fault = _joint(kwargs.axes, tensor)
        if kwargs.reference_tensor not in (None, tensor.id):
            fault = f"refers to another tensor, {kwargs.reference_tensor}"
        ends = {"lower": float(kwargs.min_percentile), "upper": float(kwargs.max_percentile)}
        return {"name": "percentile", **ends, "eps": float(kwargs.eps), "joint": joint}, fault
    if kind in ("scale_linear", "fixed_zero_mean_unit_variance"):
        if str(getattr(kwargs, "axis", "channel")) not in ("channel", "c"):
            return None, f"has a value for each place along {kwargs.axis}"
        if kind == "scale_linear":
            gain, offset = kwargs.gain, kwargs.offset
            if not all(_listed(gain)):
                return None, "has the gain 0"
            return {"name": "linear", "gain": _plain(gain), "offset": _plain(offset)}, ""
        pairs = list(zip(_listed(kwargs.mean), _listed(kwargs.std), strict=True))
        gains = [1 / (std + _FIXED_EPS) for _, std in pairs]
        offsets = [-mean / (std + _FIXED_EPS) for mean, std in pairs]
        one = len(pairs) == 1
        return {
            "name": "linear",
            "gain": gains[0] if one else gains,
            "offset": offsets[0] if one else offsets,
        }, ""
    if kind == "clip":
        names = {"min": "minimum", "max": "maximum"}
        names |= {"min_percentile": "lower", "max_percentile": "upper"}
        given = {key: getattr(kwargs, key, None) for key in names}
        limits = {names[key]: float(value) for key, value in given.items() if value is not None}
        joint, fault = (
            _joint(kwargs.axes, tensor) if {"lower", "upper"} & set(limits) else (True, "")
        )
        return {"name": "clip", **limits, "joint": joint}, fault
    return None, "is not done here"


def _joint(axes: Any, tensor: Any) -> tuple[bool, str]:
    """Return whether channels have one statistic together; a fault if not all of space counts."""
    if axes is None:
        return True, ""
    named = {str(axis) for axis in axes}
    spatial = {str(axis.id) for axis in tensor.axes if axis.type == "space" and axis.size != 1}
    if missing := sorted(spatial - named):
        return False, f"measures each place along {', '.join(missing)} separately"
    return bool(named & {"channel", "c"}), ""


def _is_of_dataset(kind: str, kwargs: Any) -> bool:
    """Return whether a step's statistics are those of all images."""
    if kind not in ("zero_mean_unit_variance", "scale_range"):
        return False
    return kwargs.axes is None or bool({str(axis) for axis in kwargs.axes} & {"batch", "b"})


def _rule(steps: Sequence[Mapping[str, Any]], channels: int) -> dict[str, Any]:
    """Return the rule of ours that is equal to the steps; else the steps themselves."""
    if not steps:
        return {"method": "none"}
    if len(steps) == 1:
        (step,) = steps
        alone = channels == 1 or not step.get("joint")
        if step["name"] == "zscore" and alone and step["eps"] <= _FIXED_EPS:
            return {"method": "zscore"}
        if step["name"] == "percentile" and alone and step["eps"] <= _FIXED_EPS:
            if (step["lower"], step["upper"]) == (0.0, 100.0):
                return {"method": "minmax"}
            return {"method": "percentile", "lower": step["lower"], "upper": step["upper"]}
        gain, offset = step.get("gain"), step.get("offset")
        if isinstance(gain, float) and isinstance(offset, float) and gain > 0:
            low = -offset / gain
            return {"method": "range", "minimum": low, "maximum": low + 1 / gain}
    return {"method": STEPS, STEPS: [dict(step) for step in steps]}


def _channels(tensor: Any) -> int:
    return next((len(a.channel_names) for a in tensor.axes if a.type == "channel"), 1)


def _listed(value: Any) -> list[float]:
    return [float(one) for one in value] if isinstance(value, (list, tuple)) else [float(value)]


def _plain(value: Any) -> float | list[float]:
    values = _listed(value)
    return values[0] if len(values) == 1 else values
