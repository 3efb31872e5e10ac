"""What a file asks to be built, checked before anything is: the class, its arguments, its size.

A few words in a file can ask for any class and any amount of memory. Here the network is laid out
first without memory for its weights, and is built only if it is the one that the weights are of.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cytoloop.errors import ModelError, shortened

_NETWORKS = "monai.networks.nets"
_MOST = 4096
"""The largest whole number of an architecture: features, kernel, image side."""
_MOST_REPEATS = 64
_MOST_VALUES = 200
_DEEPEST = 4
_MOST_VOXELS = 1 << 27
_TOLD = {
    "in_channels": "channels",
    **dict.fromkeys(("filters", "channels", "features", "init_filters"), "features"),
}
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


def network_class(where: str, target: str) -> type[nn.Module]:
    """Return the MONAI network that `target` names, nothing else.

    Raises
    ------
    ModelError
        Any other class.
    """
    module, _, name = target.rpartition(".")
    found = None
    if module == _NETWORKS or module.startswith(f"{_NETWORKS}."):
        found = getattr(importlib.import_module(_NETWORKS), name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ModelError(
            where,
            f"asks for the class {target[:120]!r}",
            f"Only networks of {_NETWORKS} are built from a file.",
        )
    return found


def check_arguments(where: str, kind: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the class does not know, or that are no small plain values.

    Raises
    ------
    ModelError
        All of them at once.
    """
    known = inspect.signature(kind).parameters
    problems = [
        f"{name[:60]}: no argument of {kind.__name__}" for name in arguments if name not in known
    ]
    if arguments.get("pretrained"):
        problems.append("pretrained: asks for a download")
    for name, value in arguments.items():
        problems += dict.fromkeys(f"{name}: {fault}" for fault in _faults(str(name), value))
    if problems:
        raise ModelError(
            where,
            shortened([f"in the architecture, {p}" for p in problems], 12),
            "It is not loaded.",
        )


def check_window(where: str, sides: Any) -> None:
    """Refuse a patch size that is none, or would fill the memory.

    Raises
    ------
    ModelError
        It is no list of one to three whole numbers above 0, or of too many voxels.
    """
    fits = isinstance(sides, (list, tuple)) and 1 <= len(sides) <= 3
    if not fits or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
        found = f"patch size {sides!r}"[:120]
        raise ModelError(where, found, "Expected whole numbers above 0, [Z,] Y, X.")
    if math.prod(sides) > _MOST_VOXELS:
        found = f"patch size {list(sides)} has more than {_MOST_VOXELS} voxels"
        raise ModelError(where, found, "Take a smaller one.")


def check_fit(
    kind: type[nn.Module], arguments: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Refuse a network that is not the one that the weights are of; none of it is allocated.

    Raises
    ------
    ValueError
        Names or shapes differ.
    """
    with MetaDeviceMode():
        planned = {name: tuple(t.shape) for name, t in kind(**arguments).state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    wrong = [f"{k} is only in the file" for k in found if k not in planned]
    wrong += [f"{k} is missing in the file" for k in planned if k not in found]
    wrong += [
        f"{k} has shape {found[k]}, the architecture wants {planned[k]}"
        for k in planned
        if k in found and found[k] != planned[k]
    ]
    if wrong:
        raise ValueError("; ".join(shortened(wrong, 1)))


def describe(backbone: Mapping[str, Any]) -> str:
    """Return an architecture in a few words."""
    name = str(backbone.get("_target_", "network")).rpartition(".")[2]
    text = f"{name} for {backbone.get('spatial_dims', '?')}D images"
    for key, meaning in _TOLD.items():
        if key in backbone:
            value = backbone[key]
            shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            text += f", {meaning} {shown}"
    return text


class MetaDeviceMode(TorchFunctionMode):
    """Tensors are made with a shape and no memory.

    Unlike ``torch.device("meta")`` it leaves the numbers alone that a network computes while it
    is built (MONAI's SwinUNETR reads some of them).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _MAKERS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _faults(name: str, value: Any) -> Iterator[str]:
    """Yield what is wrong with an argument's value."""
    most = _MOST
    if name.startswith("num_") or any(word in name for word in ("blocks", "depth", "layers")):
        most = _MOST_REPEATS
    for count, (depth, leaf) in enumerate(_leaves(value)):
        if count >= _MOST_VALUES or depth > _DEEPEST:
            yield "holds too many values, or nests them too deeply"
            return
        if leaf == "_target_":
            yield "nests a class"
        elif isinstance(leaf, str) and "${" in leaf:
            yield f"{leaf[:60]!r} would have to be computed, and nothing in a file is"
        elif isinstance(leaf, str):
            if len(leaf) > 100:
                yield "is too long a word"
        elif isinstance(leaf, float):
            if not math.isfinite(leaf):
                yield f"{leaf} is no number"
        elif isinstance(leaf, int):
            if abs(leaf) > most:
                yield f"{leaf} is more than {most}"
        elif leaf is not None:
            yield f"is no plain value but {type(leaf).__name__}"


def _leaves(value: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield the keys and values of nested lists and tables, with their depth, one level too many.

    Nothing below that is looked at: a few lines of YAML can nest for ever.
    """
    nested = isinstance(value, (Mapping, list, tuple))
    if not nested or depth > _DEEPEST:
        yield depth, value
        return
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(value, Mapping):
            yield depth, str(key)
        yield from _leaves(item, depth + 1)
