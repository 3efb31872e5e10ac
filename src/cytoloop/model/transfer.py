"""Transfer of weights to a network that may have other heads or channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cytoloop.errors import ModelError, join_names, truncate_lines


@dataclass
class Transfer:
    """The transferred weights, and how each of them was obtained.

    Attributes
    ----------
    state : dict of str to Tensor
        Complete state dict of the new network.
    loaded : list of str
        Names of weights that are loaded unchanged.
    fitted : dict of str to str
        Names of weights that were changed to other heads or channels, with a description.
    new : list of str
        Names of weights that are missing in the checkpoint or have another shape; they keep their
        initial values.
    skipped : list of str
        Names and shapes of weights that are only in the checkpoint.
    """

    state: dict[str, Tensor]
    loaded: list[str] = field(default_factory=list)
    fitted: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """Return the numbers and names of weights, one line per kind."""
        lines = [f"{len(self.loaded)} weights loaded unchanged"]
        for text in dict.fromkeys(self.fitted.values()):
            names = [name for name, one in self.fitted.items() if one == text]
            lines.append(f"{len(names)} fitted, {text}: {join_names(names, 4)}")
        for title, names in (("new", self.new), ("skipped", self.skipped)):
            if names:
                lines.append(f"{len(names)} {title}: {join_names(names, 4)}")
        return lines


def require_weights(where: str, backbone: Mapping[str, Any]) -> None:
    """Refuse a model that is a graph of another program: it has no weights to train.

    Raises
    ------
    ModelError
        It is TorchScript or ONNX.
    """
    kind = str(backbone.get("_target_", ""))
    if kind.startswith("cytoloop.model.networks.graph."):
        raise ModelError(
            where,
            f"is a {kind.rpartition('.')[2].removesuffix('Network')} graph, which predicts and "
            "cannot be trained further",
            "Start from a checkpoint, or from a package with pytorch_state_dict weights of a "
            "network of MONAI, torch or a package that you trust.",
        )


def transfer(
    where: str,
    weights: Mapping[str, Tensor],
    initial: Mapping[str, Tensor],
    source_image: Mapping[str, Any],
    target_image: Mapping[str, Any],
    strict: bool = True,
) -> Transfer:
    """Return the weights of a checkpoint, fitted to a network.

    A weight with the same name and shape is loaded unchanged. Two kinds of weights are fitted:

    - With one output per head, heads of the same name are loaded; new heads keep their initial
      weights.
    - With one input per channel, channels of the same name are loaded. If the names do not match,
      every channel gets the mean of all channels, see `average_channels`.

    Parameters
    ----------
    where : str
        The checkpoint, for the error message.
    weights, initial : mapping of str to Tensor
        State dicts of the checkpoint and of the initialized network.
    source_image, target_image : mapping
        Image settings of the checkpoint and of the network: ``heads``, ``channels``,
        ``channel_names``.
    strict : bool
        Raise for weights that cannot be fitted. False: they keep their initial values.

    Raises
    ------
    ModelError
        All weights that cannot be fitted.
    """
    found = Transfer({name: tensor.clone() for name, tensor in initial.items()})
    problems = []
    for name, tensor in initial.items():
        if name not in weights:
            found.new.append(name)
            problems.append(f"{name}: only in the network")
            continue
        given = weights[name]
        if given.shape == tensor.shape:
            found.state[name] = given
            found.loaded.append(name)
            continue
        images = source_image, target_image
        fitted = (
            _fit_heads(given, tensor, *images, axes=[[0]])
            or _fit_channels(given, tensor, *images)
            or _fit_heads(given, tensor, *images, axes=[[1], [0, 1]])
        )
        if fitted is None:
            found.new.append(name)
            problems.append(
                f"{name}: shape {tuple(given.shape)} but the network's is {tuple(tensor.shape)}"
            )
            continue
        found.state[name], found.fitted[name] = fitted
    for name in weights:
        if name not in initial:
            found.skipped.append(f"{name} {tuple(weights[name].shape)}")
            problems.append(f"{name}: only in the checkpoint")
    if problems and strict:
        raise ModelError(
            where,
            ["the weights do not fit this network", *truncate_lines(problems, 6)],
            "Use the architecture of the checkpoint. Or initialize weights that do not fit with "
            "strict=false.",
        )
    return found


def _fit_heads(
    given: Tensor,
    initial: Tensor,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    axes: Sequence[Sequence[int]],
) -> tuple[Tensor, str] | None:
    """Return a weight with one output per head, fitted to other heads, and a description.

    A softmax has the background as one more output. The last layers of a UNet with residual units
    have the outputs along two axes.

    Parameters
    ----------
    given, initial : Tensor
        Weight of the checkpoint and of the network.
    source, target : mapping
        Image settings.
    axes : sequence of sequence of int
        Axes that may have one entry per head, together.

    Returns
    -------
    tuple or None
        None if the weight has not one output per head, or the heads are the same.
    """
    if given.ndim != initial.ndim:
        return None
    changed = [axis for axis, n in enumerate(given.shape) if n != initial.shape[axis]]
    if tuple(changed) not in [tuple(one) for one in axes]:
        return None
    former, wanted = (list(image.get("heads") or ["foreground"]) for image in (source, target))
    for background in ([], ["background"]):
        before, after = background + former, background + wanted
        sizes = {(given.shape[axis], initial.shape[axis]) for axis in changed}
        if sizes == {(len(before), len(after))} and before != after:
            break
    else:
        return None
    kept = [head for head in after if head in before]
    fitted = initial.clone()
    into, of = (torch.tensor([heads.index(head) for head in kept]) for heads in (after, before))
    if changed == [0, 1]:
        fitted[into[:, None], into] = given[of[:, None], of]
    else:
        fitted.index_copy_(changed[0], into, given.index_select(changed[0], of))
    new = [head for head in wanted if head not in former]
    text = f"heads {', '.join(former)} to {', '.join(wanted)}"
    return fitted, f"{text} (new: {', '.join(new)})" if new else text


def _fit_channels(
    given: Tensor, initial: Tensor, source: Mapping[str, Any], target: Mapping[str, Any]
) -> tuple[Tensor, str] | None:
    """Return a weight with one input per channel, fitted to other channels, and a description.

    None if the weight has not one input per channel.
    """
    if given.ndim < 3 or given.ndim != initial.ndim or len(given) != len(initial):
        return None
    if given.shape[2:] != initial.shape[2:]:
        return None
    former, wanted = int(source.get("channels") or 0), int(target.get("channels") or 0)
    if (given.shape[1], initial.shape[1]) != (former, wanted):
        return None
    names, others = (list(image.get("channel_names") or []) for image in (source, target))
    if len(set(names)) == former and set(others) <= set(names):
        picked = [names.index(name) for name in others]
        return given[:, picked].clone(), f"channels {', '.join(others)} of {', '.join(names)}"
    return average_channels(given, wanted), f"{former} channels to {wanted} (their mean)"


def average_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a convolution's weight for another number of input channels.

    Each channel gets the mean of the former channels, scaled so that equal input channels give
    the same output as before.

    Parameters
    ----------
    weight : Tensor
        (out, in, [kZ,] kY, kX).
    channels : int
        New number of input channels.

    Returns
    -------
    Tensor
        (out, channels, [kZ,] kY, kX).
    """
    mean = weight.mean(1, keepdim=True) * (weight.shape[1] / channels)
    return torch.cat([mean] * channels, 1)
