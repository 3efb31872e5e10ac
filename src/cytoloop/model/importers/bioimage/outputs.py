"""What the output of a package means: foreground or classes, as probabilities or logits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cytoloop.truth.classes import class_heads, parse_class_names
from cytoloop.truth.plain_names import plain_name

log = logging.getLogger(__name__)

_FOREGROUND = (
    "foreground",
    "fg",
    "object",
    "mask",
    "interior",
    "nuclei",
    "nucleus",
    "cell",
    "cells",
)
_CONTOUR = ("boundary", "boundaries", "contour", "contours", "border", "borders", "edge", "edges")
_BACKGROUND = ("background", "bg")
_RANGE_MARGIN = 1e-4


@dataclass(frozen=True)
class OutputMeaning:
    """What the channels of an output mean.

    Attributes
    ----------
    axes : str
        Letters of ``bczyx`` in the package's order.
    activation : str
        What the network returns, see `cytoloop.model.networks.graph.ACTIVATIONS`.
    channels : int
        Of the output.
    steps : tuple of str
        Postprocessing after the network: sigmoid, softmax, binarize.
    heads : list of str
        Empty for one foreground.
    threshold : float or None
        Of a binarization.
    """

    axes: str
    activation: str
    channels: int
    steps: tuple[str, ...] = ()
    heads: list[str] = field(default_factory=list)
    threshold: float | None = None


def read_meaning(
    tensor: Any, axes: str, test: np.ndarray | None, where: str
) -> tuple[OutputMeaning, list[str]]:
    """Return what an output means, and what of it cannot be honoured.

    Parameters
    ----------
    tensor : OutputTensorDescr
    axes : str
        See `axis_letters`.
    test : ndarray, optional
        Test output: its values show whether a network returns probabilities.
    where : str
        The package, for warnings.
    """
    names = next(
        ([str(n) for n in axis.channel_names] for axis in tensor.axes if axis.type == "channel"),
        ["foreground"],
    )
    steps, threshold, problems = _steps(tensor)
    activation = _activation(tensor, steps, axes, test)
    if not activation:
        activation = "logits"
        span = "" if test is None else f" (from {test.min():.3g} to {test.max():.3g} in its test)"
        problems.append(
            f"output {tensor.id}: its values{span} are neither probabilities nor followed by "
            "sigmoid or softmax, so their meaning is not known"
        )
    heads, fault = _heads(names, activation, where)
    problems += [fault] if fault else []
    found = OutputMeaning(axes, activation, len(names), steps, heads, threshold)
    return found, problems


def _steps(tensor: Any) -> tuple[tuple[str, ...], float | None, list[str]]:
    """Return the postprocessing that counts, the threshold, and the steps that are not done."""
    steps: list[str] = []
    threshold = None
    problems = []
    for step in tensor.postprocessing:
        kind = str(step.id)
        if kind == "binarize" and not isinstance(step.kwargs.threshold, (list, tuple)):
            threshold = float(step.kwargs.threshold)
            if not 0 < threshold < 1:
                problems.append(f"postprocessing binarize: at {threshold:g}, expected 0 to 1")
        elif kind == "softmax" and str(step.kwargs.axis) not in ("channel", "c"):
            problems.append(f"postprocessing softmax: along {step.kwargs.axis}")
            continue
        elif kind == "clip" and {step.kwargs.min, step.kwargs.max} <= {0, 1}:
            continue  # probabilities stay as they are
        elif kind == "ensure_dtype":
            continue
        elif kind not in ("sigmoid", "softmax", "binarize"):
            problems.append(f"postprocessing {kind}: is not done here")
            continue
        steps.append(kind)
    if [s for s in steps if s != "binarize"][1:] or "binarize" in steps[:-1]:
        problems.append(f"postprocessing {', '.join(steps)}: expected one of them")
    return tuple(steps), threshold, problems


def _activation(tensor: Any, steps: Sequence[str], axes: str, test: np.ndarray | None) -> str:
    """Return what the network returns; empty where that is not known."""
    if "sigmoid" in steps:
        return "logits"
    if "softmax" in steps:
        return "softmax"
    if "binarize" in steps:
        return "probabilities"
    if test is None:
        return ""
    low, high = float(test.min()), float(test.max())
    if low >= -_RANGE_MARGIN and high <= 1 + _RANGE_MARGIN:
        channel = axes.index("c") if "c" in axes else None
        if channel is not None and test.shape[channel] > 1:
            sums = test.sum(axis=channel, dtype=np.float64)
            if np.abs(sums - 1).max() < 1e-3:
                return "class_probabilities"
        return "probabilities"
    return "logits" if "logit" in str(tensor.id) else ""


def _heads(names: Sequence[str], activation: str, where: str) -> tuple[list[str], str]:
    """Return the heads of channels; empty for one foreground. Also what is not supported."""
    lower = [name.lower() for name in names]
    if activation in ("softmax", "class_probabilities"):
        if len(names) < 2:
            return [], "one channel with softmax, whose probability is always 1"
        names, lower = names[1:], lower[1:]
        if len(names) == 1:
            return [], ""
    elif len(names) == 1:
        return [], ""
    elif lower[0] in _BACKGROUND:
        return [], f"channels {', '.join(names)}: a background beside independent probabilities"
    elif len(names) == 2 and lower[0] in _FOREGROUND and lower[1] in _CONTOUR:
        return ["foreground", "contour"], ""
    numbered = all(name[:7] in ("channel", "output") or name[:6] == "output" for name in lower)
    if numbered:
        classes = list(parse_class_names(len(names)))
        log.warning(
            "%s: its channels have no names; they are classes %s", where, ", ".join(classes)
        )
    else:
        classes = [plain_name(name) for name in names]
    return class_heads(parse_class_names(classes, where)), ""
