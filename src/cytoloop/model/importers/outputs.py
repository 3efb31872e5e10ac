"""Outputs of a network: softmax classes as one logit each, and the choice of some outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cytoloop.errors import ModelError

_LAST_LAYERS = {  # names of the layers that make outputs, and the axis of the outputs
    "AttentionUnet": (r"model\.2\.conv", 0),
    "BasicUNet": (r"final_conv", 0),
    "DynUNet": (
        r"(.*\.)?(output_block|super_head|deep_supervision_heads\.\d+)\.conv\.conv",
        0,
    ),
    "SegResNet": (r"conv_final\.2\.conv", 0),
    "UNet": (r"model\.2\.conv", 1),  # a transposed convolution
}
CLASSES_UNET = "cytoloop.model.networks.classes_unet.ClassesUNet"


def to_logits(
    where: str, backbone: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return architecture and weights of the network without the background of its softmax.

    The logit of a class is its output minus the background's. Of two classes, background and
    foreground, the sigmoid of this difference is the softmax. Of more classes, the largest logit
    above 0 belongs to the most probable class, and all are below 0 where that is the background.

    Parameters
    ----------
    where : str
        The model, for the error message.
    backbone : mapping
        Its ``out_channels`` are the classes of a softmax, the background first.
    weights : mapping of str to Tensor

    Raises
    ------
    ModelError
        There is one output only.
    """
    count = int(backbone["out_channels"])
    if count < 2:
        raise ModelError(
            where,
            "has one output channel with softmax, whose probability is always 1",
            "State the activation that it was trained with: sigmoid.",
        )
    fewer = {**backbone, "out_channels": count - 1}
    if _kind(backbone) == "UNet" and not _output_keys("UNet", weights):  # has residual units
        return {**fewer, "_target_": CLASSES_UNET}, dict(weights)

    def difference(values: Tensor, axis: int) -> Tensor:
        exact = values.double()
        rest = exact.narrow(axis, 1, count - 1) - exact.narrow(axis, 0, 1)
        return rest.to(values.dtype)

    return fewer, _with_outputs(_kind(backbone), weights, difference)


def select_outputs(
    backbone: Mapping[str, Any], weights: Mapping[str, Tensor], numbers: Sequence[int]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return architecture and weights of the network with some of its outputs.

    Raises
    ------
    ValueError
        The outputs are not those of a single linear layer.
    """
    kind = _kind(backbone)
    if not _output_keys(kind, weights):
        raise ValueError(f"a {kind} with these weights has no last layer of its own")
    chosen = torch.tensor(list(numbers))
    selected = _with_outputs(kind, weights, lambda values, axis: values.index_select(axis, chosen))
    return {**backbone, "out_channels": len(numbers)}, selected


def _with_outputs(
    kind: str, weights: Mapping[str, Tensor], change: Callable[[Tensor, int], Tensor]
) -> dict[str, Tensor]:
    """Return weights in which the layers that make outputs are changed along their axis."""
    changed = dict(weights)
    for key, axis in _output_keys(kind, weights).items():
        changed[key] = change(weights[key], axis).contiguous()
    return changed


def _output_keys(kind: str, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the weights and biases of the layers that make outputs, and their axis."""
    if kind not in _LAST_LAYERS:
        return {}
    pattern, axis = _LAST_LAYERS[kind]
    found = (re.fullmatch(rf"(?:{pattern})\.(?P<part>weight|bias)", key) for key in weights)
    return {match[0]: axis if match["part"] == "weight" else 0 for match in found if match}


def _kind(backbone: Mapping[str, Any]) -> str:
    return str(backbone["_target_"]).rpartition(".")[2]
