"""Weights of one network in another: what is taken as it is, what is fitted, what starts anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cytoloop.errors import ModelError, listed, shortened


@dataclass
class Transfer:
    """What becomes of each weight.

    Attributes
    ----------
    state : dict of str to Tensor
        For the new network, all of it.
    loaded : list of str
        Names of weights that are taken as they are.
    fitted : dict of str to str
        Names of weights for another number of channels or heads, with what was done.
    new : list of str
        Names that the checkpoint does not have, or in another shape: as initialised.
    skipped : list of str
        Names and shapes that the network has no use for.
    """

    state: dict[str, Tensor]
    loaded: list[str] = field(default_factory=list)
    fitted: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """Return the table in lines."""
        lines = [f"{len(self.loaded)} weights loaded as they are"]
        for text in dict.fromkeys(self.fitted.values()):
            names = [name for name, one in self.fitted.items() if one == text]
            lines.append(f"{len(names)} fitted, {text}: {listed(names, 4)}")
        for title, names in (("new", self.new), ("skipped", self.skipped)):
            if names:
                lines.append(f"{len(names)} {title}: {listed(names, 4)}")
        return lines


def transfer(
    where: str,
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    strict: bool = True,
) -> Transfer:
    """Fit the weights of a checkpoint to a network.

    A weight of the same name and shape is taken. One that has an output for each head gives each
    head that both have its own, and leaves the others as they are initialised. One that has an
    input for each channel gives channels of the same name theirs; where names tell nothing, every
    channel gets the mean over the former ones, scaled so that equal channels give the same sum.

    Parameters
    ----------
    where : str
        The checkpoint, for the message.
    weights, own : mapping of str to Tensor
        State dicts of the checkpoint and of the network, as initialised.
    there, here : mapping
        What each expects of an image: ``heads``, ``channels``, ``channel_names``.
    strict : bool
        Refuse what cannot be fitted; False: it starts anew, and is told.

    Raises
    ------
    ModelError
        Weights that cannot be fitted, all of them.
    """
    found = Transfer({name: tensor.clone() for name, tensor in own.items()})
    problems = []
    for name, tensor in own.items():
        if name not in weights:
            found.new.append(name)
            problems.append(f"{name}: only in the network")
            continue
        given = weights[name]
        if given.shape == tensor.shape:
            found.state[name] = given
            found.loaded.append(name)
            continue
        fitted = _heads(given, tensor, there, here) or _channels(given, tensor, there, here)
        if fitted is None:
            found.new.append(name)
            problems.append(
                f"{name}: shape {tuple(given.shape)} but the network's is {tuple(tensor.shape)}"
            )
            continue
        found.state[name], found.fitted[name] = fitted
    for name in weights:
        if name not in own:
            found.skipped.append(f"{name} {tuple(weights[name].shape)}")
            problems.append(f"{name}: only in the checkpoint")
    if problems and strict:
        raise ModelError(
            where,
            ["the weights do not fit this network", *shortened(problems, 6)],
            "Use the architecture that the checkpoint was trained with, or strict=false: what does "
            "not fit starts anew.",
        )
    return found


def _heads(
    given: Tensor, own: Tensor, there: Mapping[str, Any], here: Mapping[str, Any]
) -> tuple[Tensor, str] | None:
    """Return a weight with one output for each head."""
    former, wanted = (list(image.get("heads") or ["foreground"]) for image in (there, here))
    if given.ndim == 0 or given.shape[1:] != own.shape[1:]:
        return None
    if (len(given), len(own)) != (len(former), len(wanted)) or former == wanted:
        return None
    fitted = own.clone()
    for number, head in enumerate(wanted):
        if head in former:
            fitted[number] = given[former.index(head)]
    new = [head for head in wanted if head not in former]
    return fitted, f"heads {', '.join(former)} to {', '.join(wanted)}" + (
        f" ({', '.join(new)} anew)" if new else ""
    )


def _channels(
    given: Tensor, own: Tensor, there: Mapping[str, Any], here: Mapping[str, Any]
) -> tuple[Tensor, str] | None:
    """Return a weight with one input for each channel."""
    if given.ndim < 3 or given.ndim != own.ndim or len(given) != len(own):
        return None
    if given.shape[2:] != own.shape[2:]:
        return None
    former, wanted = int(there.get("channels") or 0), int(here.get("channels") or 0)
    if (given.shape[1], own.shape[1]) != (former, wanted):
        return None
    names, others = (list(image.get("channel_names") or []) for image in (there, here))
    if len(set(names)) == former and set(others) <= set(names):
        picked = [names.index(name) for name in others]
        return given[:, picked].clone(), f"channels {', '.join(others)} of {', '.join(names)}"
    return average_channels(given, wanted), f"{former} channels to {wanted} (their mean)"


def average_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a convolution's weight for other input channels: each gets the mean of the former.

    It is scaled so that equal channels give the same sum.

    Parameters
    ----------
    weight : Tensor
        (out, in, [kZ,] kY, kX).
    channels : int
        Inputs of the new one.

    Returns
    -------
    Tensor
        (out, channels, [kZ,] kY, kX).
    """
    mean = weight.mean(1, keepdim=True) * (weight.shape[1] / channels)
    return torch.cat([mean] * channels, 1)
