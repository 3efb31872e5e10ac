"""A workflow: named steps with parameters, checked before any image is read."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from cytoloop.classic.steps import METHODS, STEPS, Field
from cytoloop.errors import ConfigError

_KEY_OF_METHODS = "method"


@dataclass(frozen=True)
class Workflow:
    """A chain of steps.

    Attributes
    ----------
    name : str
    steps : tuple of (str, str, dict)
        Key, name of the step, and its arguments, in the order in which they run.
    """

    name: str
    steps: tuple[tuple[str, str, dict[str, Any]], ...]

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Workflow:
        """Return the workflow of a config group.

        A key of ``steps`` is the name of a step, with ``_2`` behind it where it runs again. A
        step whose arguments are null is left out.

        Raises
        ------
        ConfigError
            With all steps and arguments that are unknown or out of range.
        """
        problems, steps = [], []
        for key, arguments in dict(values["steps"]).items():
            if arguments is None:
                continue
            name = key.rstrip("0123456789").rstrip("_") if key not in STEPS else key
            if name not in STEPS:
                problems.append(f"workflow.steps.{key}: unknown, expected {', '.join(STEPS)}")
            elif not isinstance(arguments, Mapping):
                problems.append(f"workflow.steps.{key}={arguments}: expected {{}} or arguments")
            else:
                problems += _argument_problems(key, name, arguments)
                steps.append((key, name, dict(arguments)))
        if not steps:
            problems.append("workflow.steps: is empty")
        if problems:
            raise ConfigError("cytoloop classic", problems, "See `cytoloop classic --help`.")
        return cls(str(values["name"]), tuple(steps))

    def run(self, data: np.ndarray, spacing_um: tuple[float, ...]) -> list[tuple[str, np.ndarray]]:
        """Return the result of each step; the last one, ``labels``, are objects.

        Parameters
        ----------
        data : numpy.ndarray
            Grey levels ([Z,] Y, X).
        spacing_um : tuple of float
            Voxel size of these axes.
        """
        grey = data.astype(np.float32)
        field = Field(grey, spacing_um, grey)
        results = []
        for key, name, arguments in self.steps:
            field = STEPS[name](field, **arguments)
            results.append((key, field.data))
        return [*results, ("labels", as_labels(field.data))]

    def described(self) -> str:
        """Return name and parameters on one line, for tables of results."""
        steps = {key: arguments for key, _, arguments in self.steps}
        return f"workflow {self.name}, {json.dumps(steps)}"


def as_labels(data: np.ndarray) -> np.ndarray:
    """Return objects numbered from 1, int32: the parts of a mask, or labels without gaps."""
    if data.dtype == bool:
        return np.asarray(ndimage.label(data)[0]).astype(np.int32)
    if data.dtype.kind == "f":
        return np.asarray(ndimage.label(data > 0)[0]).astype(np.int32)
    values, numbers = np.unique(data, return_inverse=True)
    first = int(bool(len(values)) and values[0] != 0)  # without background the first is 1, too
    return (numbers.reshape(data.shape) + first).astype(np.int32)


def _argument_problems(key: str, name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return the arguments that a step does not have, and values out of range."""
    known = list(inspect.signature(STEPS[name]).parameters)[1:]
    problems = []
    for argument, value in arguments.items():
        where = f"workflow.steps.{key}.{argument}"
        if argument not in known:
            takes = ", ".join(known) or "nothing"
            problems.append(f"{where}: unknown, {name} takes {takes}")
        elif argument == _KEY_OF_METHODS:
            if value not in METHODS:
                problems.append(f"{where}={value}: expected {', '.join(METHODS)}")
        elif argument.startswith("sizes"):
            if not (isinstance(value, list) and value and all(map(_is_length, value))):
                problems.append(f"{where}={value}: expected sigmas in um, [0.2, 0.4]")
        elif value is None and argument == "most_um":
            continue
        elif argument == "outline":
            if not (_is_number(value) and 0 < value < 1):
                problems.append(f"{where}={value}: expected a number between 0 and 1")
        elif argument == "alike":
            if not (_is_number(value) and 0 <= value <= 1):
                problems.append(f"{where}={value}: expected a number from 0 to 1")
        elif argument in ("lower", "upper", "least_um", "min_depth"):
            if not (_is_number(value) and 0 <= value <= 1e6):
                problems.append(f"{where}={value}: expected a number from 0")
        elif not _is_length(value):
            problems.append(f"{where}={value}: expected a number above 0")
    return problems


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_length(value: Any) -> bool:
    return _is_number(value) and 0 < value < 1e6
