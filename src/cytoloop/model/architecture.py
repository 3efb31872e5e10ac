"""Checks of an architecture from an untrusted file, before the network is built.

A few words in a file can name any class and ask for any amount of memory. So the class must be a
network of a known library, its arguments small plain values, and the network is first built on
torch's meta device, without memory, to compare its weights with those of the file. Classes of a
package that the user trusts are built without these limits (`cytoloop.model.trust`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cytoloop.errors import ModelError, truncate_lines
from cytoloop.model.trust import build_trusted, is_trusted, library_class, untrusted_error

_MAX_INT = 4096
"""Largest whole number in an architecture: features, kernel size, image side."""
_MAX_REPEATS = 64
"""Largest number of blocks or layers."""
_MAX_VALUES = 200
_MAX_DEPTH = 4
_MAX_VOXELS = 1 << 27
_DESCRIBED = {
    "in_channels": "channels",
    **dict.fromkeys(("filters", "channels", "features", "init_filters"), "features"),
}
_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


def network_class(where: str, target: str) -> type[nn.Module]:
    """Return the network class of a library that `target` names, see `cytoloop.model.trust`.

    Raises
    ------
    ModelError
        `target` names another class.
    """
    found: type[nn.Module] | None = library_class(target, nn.Module)
    if found is None:
        raise untrusted_error(where, target, "a network of MONAI, torch or CytoDL")
    return found


def build_architecture(
    where: str, backbone: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Return the network that a config or a file describes.

    Parameters
    ----------
    where : str
        The file or key, for messages.
    backbone : mapping
        ``_target_`` and arguments.
    weights : mapping of str to Tensor, optional
        Weights that the network must have. They are not loaded. A trusted class is not compared.

    Raises
    ------
    ModelError
        The class must not be built, or it refuses its arguments.
    ValueError
        Names or shapes of the weights differ.
    """
    target = str(backbone.get("_target_", ""))
    if is_trusted(target):
        network = build_trusted(where, backbone, lambda other: network_class(where, other))
        if not isinstance(network, nn.Module):
            found = f"{target} gives a {type(network).__name__}, expected a torch.nn.Module"
            raise ModelError(where, found, "Name a class of networks.")
        return network
    kind = network_class(where, target)
    arguments = {name: value for name, value in backbone.items() if not name.startswith("_")}
    check_arguments(where, kind, arguments)
    if weights is not None:
        check_fit(kind, arguments, weights)
    return kind(**arguments)


def check_arguments(where: str, kind: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Raise an error unless the class has all these arguments and they are small plain values.

    Raises
    ------
    ModelError
        All faulty arguments.
    """
    known = inspect.signature(kind).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in known.values())
    problems = [
        f"{name[:60]}: not an argument of {kind.__name__}"
        for name in arguments
        if name not in known and not takes_any
    ]
    if arguments.get("pretrained"):
        problems.append("pretrained: would download weights")
    for name, value in arguments.items():
        problems += dict.fromkeys(f"{name}: {fault}" for fault in _find_faults(str(name), value))
    if problems:
        raise ModelError(
            where,
            truncate_lines([f"in the architecture, {p}" for p in problems], 12),
            "The model is not loaded. Restore the original file.",
        )


def check_patch_size(where: str, sides: Any) -> None:
    """Raise an error unless `sides` is a patch size of at most 2**27 voxels.

    Raises
    ------
    ModelError
        Not a list of one to three whole numbers above 0, or too many voxels.
    """
    fits = isinstance(sides, (list, tuple)) and 1 <= len(sides) <= 3
    if not fits or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
        found = f"patch size {sides!r}"[:120]
        raise ModelError(where, found, "Expected whole numbers above 0, [Z,] Y, X.")
    if math.prod(sides) > _MAX_VOXELS:
        found = f"patch size {list(sides)} has more than {_MAX_VOXELS} voxels"
        raise ModelError(where, found, "Take a smaller patch size.")


def check_fit(
    kind: type[nn.Module], arguments: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Raise an error unless the weights fit the network; no memory is allocated for it.

    Raises
    ------
    ValueError
        Names or shapes differ.
    """
    with MetaDeviceMode():
        expected = {name: tuple(t.shape) for name, t in kind(**arguments).state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    for name in getattr(kind, "FREE_WEIGHTS", ()):  # a graph, whose length is its own
        expected[name] = found.get(name, expected[name])
    wrong = [f"{k} is only in the file" for k in found if k not in expected]
    wrong += [f"{k} is missing in the file" for k in expected if k not in found]
    wrong += [
        f"{k} has shape {found[k]}, expected {expected[k]}"
        for k in expected
        if k in found and found[k] != expected[k]
    ]
    if wrong:
        raise ValueError("; ".join(truncate_lines(wrong, 1)))


def describe(backbone: Mapping[str, Any]) -> str:
    """Return a short description of an architecture, for log and error messages."""
    name = str(backbone.get("_target_", "network")).rpartition(".")[2]
    text = f"{name} for {backbone.get('spatial_dims', '?')}D images"
    for key, meaning in _DESCRIBED.items():
        if key in backbone:
            value = backbone[key]
            value = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            text += f", {meaning} {value}"
    return text


class MetaDeviceMode(TorchFunctionMode):
    """Create tensors on the meta device: they have a shape, but no memory.

    ``torch.device("meta")`` would also move numbers that a network computes while it is built,
    and MONAI's SwinUNETR needs some of their values.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _find_faults(name: str, value: Any) -> Iterator[str]:
    """Yield the faults of an argument's value."""
    limit = _MAX_INT
    if name.startswith("num_") or any(word in name for word in ("blocks", "depth", "layers")):
        limit = _MAX_REPEATS
    for count, (depth, leaf) in enumerate(_leaves(value)):
        if count >= _MAX_VALUES or depth > _MAX_DEPTH:
            yield f"has more than {_MAX_VALUES} values, or is nested deeper than {_MAX_DEPTH}"
            return
        if leaf == "_target_":
            yield "contains a nested class (_target_)"
        elif isinstance(leaf, str) and "${" in leaf:
            yield f"{leaf[:60]!r} is an interpolation, expected a value"
        elif isinstance(leaf, str):
            if len(leaf) > 100:
                yield "contains a text of more than 100 characters"
        elif isinstance(leaf, float):
            if not math.isfinite(leaf):
                yield f"{leaf} is not a finite number"
        elif isinstance(leaf, int):
            if abs(leaf) > limit:
                yield f"{leaf} is more than {limit}"
        elif leaf is not None:
            yield f"is not a plain value but {type(leaf).__name__}"


def _leaves(value: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield the keys and values of nested lists and mappings, with their depth.

    Values deeper than one level below the limit are not visited: YAML aliases can nest endlessly.
    """
    nested = isinstance(value, (Mapping, list, tuple))
    if not nested or depth > _MAX_DEPTH:
        yield depth, value
        return
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(value, Mapping):
            yield depth, str(key)
        yield from _leaves(item, depth + 1)
