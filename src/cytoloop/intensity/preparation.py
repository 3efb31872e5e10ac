"""Preparation: functions of the user that change each normalised image before the network sees it.

Training, validation and prediction apply the same functions to the whole image, so that a function
may look at neighbours. The checkpoint stores their class names and arguments.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError

KEY = "preparation.steps"


class Preparation:
    """Functions that are applied one after the other.

    Parameters
    ----------
    steps : sequence of mapping
        Configs: ``_target_`` and arguments. Each makes a callable that takes an image
        (C, [Z,] Y, X), float32 and normalised, and returns an array of the same shape.
    built : sequence of callable, optional
        The callables. None: Hydra builds them from the configs.

    Raises
    ------
    ConfigError
        A step is not a config, or does not make a callable.
    """

    def __init__(
        self, steps: Sequence[Any] = (), built: Sequence[Callable[[Any], Any]] | None = None
    ) -> None:
        from omegaconf import OmegaConf

        plain: Any = steps
        if OmegaConf.is_config(plain):
            plain = OmegaConf.to_container(plain, resolve=True)
        self.steps: list[dict[str, Any]] = list(plain)
        if any(not isinstance(step, Mapping) or "_target_" not in step for step in self.steps):
            raise ConfigError(
                KEY, f"is {plain!r}"[:200], "Expected [{_target_: my_lab.prepare.Log, ...}]."
            )
        if built is None:
            from hydra.utils import instantiate

            built = [instantiate(step, _convert_="all") for step in self.steps]
        for number, function in enumerate(built):
            if not callable(function):
                found = f"gives a {type(function).__name__}, expected a callable"
                raise ConfigError(f"{KEY}[{number}]", found, "Name a class with __call__.")
        self.functions = list(built)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the prepared image, float32.

        Parameters
        ----------
        image : ndarray
            (C, [Z,] Y, X) float32, normalised.

        Raises
        ------
        ConfigError
            A step fails, changes the shape, or gives values that are not finite.
        """
        for number, function in enumerate(self.functions):
            where = f"{KEY}[{number}] ({self.steps[number]['_target_']})"
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

    def digest(self, normalization: Mapping[str, Any]) -> str:
        """Return a hash of the steps, their source code and the normalisation before them."""
        sources = [_source(function) for function in self.functions]
        text = json.dumps([dict(normalization), self.steps, sources], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source(function: Any) -> str:
    """Return the source code of a callable, so that a change of it is noticed; "" without it."""
    inner = getattr(function, "func", function)  # of a partial function
    try:
        return inspect.getsource(inner if inspect.isroutine(inner) else type(inner))
    except (OSError, TypeError):
        return ""
