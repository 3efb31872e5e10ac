"""The task heads of a CytoDL model: what the outputs of its network mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cytoloop.errors import ModelError

_HEADS = ("BaseHead", "MaskHead")
"""Heads without layers: they return the network's output as logits."""
_REGRESSION = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
_SKELETON_LOSS, _CLUSTERING = "InstanceSegLoss", "InstanceSegCluster"
_RULE = {  # argument of CytoDL's clustering to ours, with CytoDL's default
    "anisotropy": ("anisotropy", 2.6),
    "skel_threshold": ("skeleton_threshold", 0.0),
    "min_size": ("min_size", 1000.0),
    "distance_threshold": ("max_distance", 100.0),
}
_REPAIR = "Predict with `python -m cyto_dl.eval`."


@dataclass(frozen=True)
class ModelHeads:
    """What the outputs of a network mean.

    Attributes
    ----------
    output : str or None
        None: probabilities. ``intensity``: an image. ``skeletons``: objects, see
        `cytoloop.instances.skeletons`.
    softmax : bool
        The outputs are the classes of a softmax.
    threshold : float
        Probability of the foreground of ``skeletons``.
    rule : dict
        Arguments of `cytoloop.instances.skeletons.SkeletonRule`.
    """

    output: str | None = None
    softmax: bool = False
    threshold: float = 0.5
    rule: dict[str, float] = field(default_factory=dict)

    def image_settings(self) -> dict[str, Any]:
        """Return what a checkpoint's ``image`` entry states of the outputs."""
        if self.output is None:
            return {}
        if not self.rule:
            return {"output": self.output}
        tuned = {"threshold": self.threshold}
        return {"output": self.output, "skeleton_rule": self.rule, "tuned": tuned}


def read_heads(where: str, heads: Any, network: Mapping[str, Any]) -> ModelHeads:
    """Return what the outputs of a network mean.

    Parameters
    ----------
    where : str
        The model, for the error message.
    heads : mapping of str to mapping
        CytoDL's ``task_heads``. Empty or None: one output with a sigmoid.
    network : mapping
        ``_target_`` and arguments of the network.

    Raises
    ------
    ModelError
        All heads without an equal form here, or a mix of different heads.
    """
    problems: list[str] = []
    found: list[ModelHeads] = []
    for name, head in heads.items() if isinstance(heads, Mapping) else ():
        head = head if isinstance(head, Mapping) else {}
        kind = _class_of(head)
        if kind not in _HEADS:
            problems.append(f"head {name!r} is a {kind[:80]!r}, expected {' or '.join(_HEADS)}")
        try:
            found.append(_read_head(head, network))
        except ValueError as error:
            problems.append(f"head {name!r} {error}")
    kinds = {(one.output, one.softmax) for one in found}
    if len(kinds) > 1 or (len(found) > 1 and found[0].output):
        problems.append("its heads are of different kinds (sigmoid, softmax, an image, skeletons)")
    if problems:
        raise ModelError(where, problems, _REPAIR)
    return found[0] if found else ModelHeads()


def _read_head(head: Mapping[str, Any], network: Mapping[str, Any]) -> ModelHeads:
    """Return the meaning of a head's output.

    Raises
    ------
    ValueError
        It has no equal form here; the text follows the head's name.
    """
    loss = _mapping(head.get("loss"))
    loss_class = _class_of(loss)
    if loss.get("softmax") is True or loss_class == "CrossEntropyLoss":
        return ModelHeads(softmax=True)
    if loss.get("sigmoid") is True or loss_class == "BCEWithLogitsLoss":
        return ModelHeads()
    rule = _mapping(_mapping(head.get("postprocess")).get("prediction"))
    outputs, dims = network.get("out_channels"), network.get("spatial_dims")
    if loss_class in _REGRESSION:
        for key in ("activation", "threshold", "label"):
            if rule.get(key):
                raise ValueError(f"changes its prediction by {key}={str(rule[key])[:80]}")
        if outputs != 1:
            raise ValueError(f"has {outputs} outputs, expected 1")
        return ModelHeads("intensity")
    if loss_class == _SKELETON_LOSS:
        if _class_of(rule) != _CLUSTERING:
            raise ValueError(f"makes objects by {_class_of(rule)[:80]!r}, expected {_CLUSTERING}")
        if not isinstance(outputs, int) or outputs < 2 + int(dims or 3):
            raise ValueError(f"has {outputs} outputs, expected {2 + int(dims or 3)} or more")
        numbers = {ours: _number(rule, key, usual) for key, (ours, usual) in _RULE.items()}
        threshold = 1 / (1 + math.exp(-_number(rule, "semantic_threshold", 0.0)))
        return ModelHeads("skeletons", threshold=threshold, rule=numbers)
    raise ValueError(
        f"was trained by {loss_class[:80] or 'an unknown loss'}, expected a loss with sigmoid or "
        f"softmax, {', '.join(_REGRESSION)} or {_SKELETON_LOSS}"
    )


def _number(rule: Mapping[str, Any], key: str, usual: float) -> float:
    value = rule.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e6:
        raise ValueError(f"has {key}={str(value)[:80]}, expected a number")
    if key == "anisotropy" and value <= 0:
        raise ValueError(f"has anisotropy={value}, expected a number above 0")
    return float(value)


def _class_of(part: Mapping[str, Any]) -> str:
    return str(part.get("_target_", "")).rpartition(".")[2]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
