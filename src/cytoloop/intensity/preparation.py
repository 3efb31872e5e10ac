"""Preparation: steps that change each image before the network sees it.

Named filters act on grey levels; the normalisation follows; then functions of the user act on the
normalised image. Training, validation and prediction take the same steps. The checkpoint stores
the values of filters, and the class names and arguments of functions.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.intensity.filtered import Measured, filter_pixels
from cytoloop.intensity.filters import FILTERS, VERSION, build_filter, parse_filter
from cytoloop.io.pixels import Pixels

KEY = "preparation.steps"


class Preparation:
    """Filters, and functions that are applied one after the other.

    Parameters
    ----------
    steps : sequence
        Filters first: names with values, see `cytoloop.intensity.filters.parse_filter`. Then
        configs: ``_target_`` and arguments. Each makes a callable that takes an image
        (C, [Z,] Y, X), float32 and normalised, and returns an array of the same shape.
    built : sequence of callable, optional
        The callables. None: Hydra builds them from the configs.

    Raises
    ------
    ConfigError
        A step is neither a valid filter nor a config, or does not make a callable.
    """

    def __init__(
        self, steps: Sequence[Any] = (), built: Sequence[Callable[[Any], Any]] | None = None
    ) -> None:
        from omegaconf import OmegaConf

        plain: Any = steps
        if OmegaConf.is_config(plain):
            plain = OmegaConf.to_container(plain, resolve=True)
        check_steps(plain)
        self.steps: list[dict[str, Any]] = complete_steps(plain)
        configs = [step for step in self.steps if is_function(step)]
        self.filters = [build_filter(step) for step in self.steps if not is_function(step)]
        if built is None:
            from hydra.utils import instantiate

            built = [instantiate(step, _convert_="all") for step in configs]
        for config, function in zip(configs, built, strict=True):
            if not callable(function):
                found = f"gives a {type(function).__name__}, expected a callable"
                raise ConfigError(self._key(config), found, "Name a class with __call__.")
        self.functions = list(zip(configs, built, strict=True))

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def in_um(self) -> bool:
        """Whether a filter has a length in um, so that images need a voxel size."""
        return any(one.in_um for one in self.filters)

    def filter(
        self, name: str, pixels: Pixels, measured: Measured | None = None
    ) -> tuple[Pixels, Measured]:
        """Return the filtered image, see `cytoloop.intensity.filtered.filter_pixels`."""
        return filter_pixels(name, pixels, self.filters, measured)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the image after all functions, float32.

        Parameters
        ----------
        image : ndarray
            (C, [Z,] Y, X) float32, filtered and normalised.

        Raises
        ------
        ConfigError
            A function fails, changes the shape, or gives values that are not finite.
        """
        for config, function in self.functions:
            where = f"{self._key(config)} ({config['_target_']})"
            try:
                prepared = np.asarray(function(image), np.float32)
            except Exception as error:  # whatever the user's function raises
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise ConfigError(where, f"fails: {reason}", "Repair the function.") from error
            if prepared.shape != image.shape:
                raise ConfigError(
                    where,
                    f"returns shape {prepared.shape} for {image.shape}",
                    "A preparation keeps the shape (C, [Z,] Y, X).",
                )
            if not np.isfinite(prepared).all():
                raise ConfigError(
                    where, "returns NaN or infinite values", "Return finite numbers only."
                )
            image = prepared
        return np.ascontiguousarray(image)

    def digest(self, normalization: Mapping[str, Any] | None = None) -> str:
        """Return a hash of the steps.

        Parameters
        ----------
        normalization : mapping, optional
            Rule between filters and functions. It and the functions' source code enter the hash,
            so that a change of them is noticed. None: only the filters do.
        """
        if normalization is None:
            parts: list[Any] = [step for step in self.steps if not is_function(step)]
            parts.append(VERSION)
        else:
            sources = [_source(function) for _, function in self.functions]
            parts = [dict(normalization), self.steps, sources, VERSION]
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _key(self, config: Mapping[str, Any]) -> str:
        return f"{KEY}[{next(n for n, step in enumerate(self.steps) if step is config)}]"


def is_function(step: Any) -> bool:
    """Return whether a step is the config of a function, not a named filter."""
    return isinstance(step, Mapping) and "_target_" in step


def step_faults(steps: Any) -> list[tuple[str, str]]:
    """Return what is wrong with the steps of a preparation.

    Parameters
    ----------
    steps : object
        Expected: a list of filters and then configs of functions, see `Preparation`.

    Returns
    -------
    list of (str, str)
        Key below ``steps``, and its fault; empty for valid steps.
    """
    if not steps:
        return []
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        names = ", ".join(FILTERS)
        return [("", f"is {steps!r}"[:100] + f", expected a list of {names}, or _target_")]
    faults, function = [], None
    for number, step in enumerate(steps):
        if is_function(step):
            function = number
            continue
        _, found = parse_filter(step)
        faults += [(f"[{number}]{'.' * bool(key)}{key}", fault) for key, fault in found]
        if not found and function is not None:
            faults.append(
                (
                    f"[{number}]",
                    f"follows the function [{function}], expected before it: filters act on grey "
                    "levels, functions on normalised images",
                )
            )
    return faults


def check_steps(steps: Any) -> None:
    """Refuse steps that are not valid.

    Raises
    ------
    ConfigError
        All faults, see `step_faults`.
    """
    faults = step_faults(steps)
    repair = "For example preparation.steps=[clip,{background: {radius: 25}}]."
    if len(faults) == 1:
        raise ConfigError(KEY + faults[0][0], faults[0][1], repair)
    if faults:
        raise ConfigError("settings", [f"{KEY}{key} {fault}" for key, fault in faults], repair)


def complete_steps(steps: Any) -> list[dict[str, Any]]:
    """Return valid steps with all values of their filters."""
    return [dict(s) if is_function(s) else parse_filter(s)[0] for s in steps or ()]


def step_names(steps: Any) -> str:
    """Return the names of steps for messages, for example ``clip, background``."""
    names = [step["_target_"] if is_function(step) else next(iter(step)) for step in steps or ()]
    return ", ".join(str(name) for name in names)


def _source(function: Any) -> str:
    """Return the source code of a callable, so that a change of it is noticed; "" without it."""
    inner = getattr(function, "func", function)  # of a partial function
    try:
        return inspect.getsource(inner if inspect.isroutine(inner) else type(inner))
    except (OSError, TypeError):
        return ""
