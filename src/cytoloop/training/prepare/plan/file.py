"""`plan.yaml`: a plan as a Hydra config that people read, edit and pass back (`plan=FILE`).

A plan is read as data: only its own keys, only numbers and lists of numbers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cytoloop.data.settings import DATA_BOUNDS, PATCH_YX, PATCH_Z
from cytoloop.errors import ConfigError, truncate_lines
from cytoloop.io.atomic import replacing
from cytoloop.io.file_kind import special_kind
from cytoloop.training.prepare.bounds import BOUNDS
from cytoloop.training.prepare.plan.choice import (
    BATCH,
    FEATURES,
    FOREGROUND,
    KERNELS,
    LAYERS,
    LOWER,
    NORM,
    OBJECT_VOXELS,
    PATCH,
    RESOLUTION,
    STRIDES,
    UPPER,
    Choice,
)

_MAX_BITS = 1000  # a larger number cannot be printed, or is no float
_MAX_BYTES = 100_000  # a plan has about two thousand
_HEAD = """\
# @package _global_
# Plan: settings chosen from the training images. Rules: docs/reference/training.md.
# cytoloop train data.path=... plan={path}
# Edit any value. A value that you remove is planned again.
"""


def write_plan(path: Path, choices: Sequence[Choice], fingerprint: Sequence[str]) -> None:
    """Write a plan as YAML, the reason above each value.

    Parameters
    ----------
    path : Path
        Written atomically.
    choices : sequence of Choice
    fingerprint : sequence of str
        Lines about the images, for the head of the file.
    """
    lines = [_HEAD.format(path=path.name) + "#"]
    lines += [f"#   {line}" for line in fingerprint]
    open_: list[str] = []
    for choice in sorted(choices, key=lambda one: _order(one.key)):
        *groups, name = choice.key.split(".")
        shared = _shared(open_, groups)
        if not shared:
            lines.append("")
        for depth in range(shared, len(groups)):
            lines.append(f"{'  ' * depth}{groups[depth]}:")
        open_ = groups
        indent = "  " * len(groups)
        width = 98 - len(indent)
        lines += [f"{indent}# {line}" for line in textwrap.wrap(choice.reason, width)]
        value = yaml.safe_dump(choice.value, default_flow_style=True).split("\n")[0]
        lines.append(f"{indent}{name}: {value}")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_plan(path: Path) -> dict[str, Any]:
    """Return the values of a plan file, dotted key to value.

    Raises
    ------
    ConfigError
        The file is missing or not YAML, or has keys or values that are not valid: all faults.
    """
    if kind := special_kind(path):
        raise ConfigError(str(path), f"is {kind}, expected a file", "Take a run's plan.yaml.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(str(path), "is too large for a plan", "Take a run's plan.yaml.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            str(path), "no such plan", "Take the plan.yaml of a run, or leave plan= out."
        ) from error
    except ConfigError:
        raise
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(str(path), f"is not YAML: {reason}", "Repair the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(str(path), "is not a plan: expected keys and values", "Take a plan.yaml.")
    values, problems = {}, []
    for key, value in _flat(content):
        if key not in CHECKS:
            problems.append(f"{key[:80]}: not a key of a plan")
        elif fault := CHECKS[key](value):
            problems.append(f"{key} {fault}")
        else:
            values[key] = value
    if problems:
        raise ConfigError(
            str(path), truncate_lines(problems, 12), f"A plan has the keys {', '.join(CHECKS)}."
        )
    return values


def is_valid(key: str, value: Any) -> bool:
    """Return whether a plan may have this value for a key."""
    return key in CHECKS and CHECKS[key](value) is None


def _flat(table: Mapping[Any, Any], above: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values, down to the depth of a plan's keys."""
    for name, value in table.items():
        key = f"{above}{name}"
        groups = any(known.startswith(f"{key}.") for known in CHECKS)
        if groups and isinstance(value, dict):
            yield from _flat(value, f"{key}.", depth + 1)
        else:
            yield key, value


def _order(key: str) -> int:
    return list(CHECKS).index(key)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of groups that two keys share at their start."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**_MAX_BITS  # also False for NaN


def _between(low: float, high: float) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fits = _is_number(value) and low <= value <= high
        return None if fits else f"is {_text_of(value)}, expected a number, {low:g} to {high:g}"

    return check


def _patch(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) not in (2, 3):
        return f"is {_text_of(value)}, expected [Z,Y,X] or [Y,X]"
    bounds = (PATCH_Z, PATCH_YX, PATCH_YX)[-len(value) :]
    faults = [
        bound.fault(side) or ("" if _is_number(side) else "is not a number")
        for bound, side in zip(bounds, value, strict=True)
    ]
    return next((fault for fault in faults if fault), None)


def _steps(allowed: Sequence[int]) -> Callable[[Any], str | None]:
    """Return a check of strides or kernels: for each level a number, or one for each axis."""

    def fits(one: Any) -> bool:
        return isinstance(one, int) and not isinstance(one, bool) and one in allowed

    def check(value: Any) -> str | None:
        fine = (
            isinstance(value, list)
            and 2 <= len(value) <= 6
            and all(
                fits(one) or (isinstance(one, list) and len(one) in (2, 3) and all(map(fits, one)))
                for one in value
            )
        )
        choice = " or ".join(map(str, allowed))
        return (
            None if fine else f"is {_text_of(value)}, expected {choice} for each of 2 to 6 levels"
        )

    return check


def _spacing(value: Any) -> str | None:
    fine = isinstance(value, list) and len(value) in (2, 3)
    fine = fine and all(_is_number(one) and 0 < one < 1e6 for one in value)
    return None if fine else f"is {_text_of(value)}, expected [Z,Y,X] or [Y,X] in um"


def _norm(value: Any) -> str | None:
    known = ("batch", "instance")
    return None if value in known else f"is {_text_of(value)}, expected {', '.join(known)}"


def _text_of(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"a number of {value.bit_length()} bits"  # Python does not print it
    return repr(value)[:80] if not isinstance(value, (dict, list)) else type(value).__name__


def _bound(key: str) -> Callable[[Any], str | None]:
    bound = next(one for one in (*BOUNDS, *DATA_BOUNDS) if one.key == key)
    return lambda value: (
        bound.fault(value) if _is_number(value) else f"is {_text_of(value)}, expected a number"
    )


CHECKS: dict[str, Callable[[Any], str | None]] = {
    FEATURES: _bound(FEATURES),
    LAYERS: _bound(LAYERS),
    PATCH: _patch,
    BATCH: _bound(BATCH),
    FOREGROUND: _between(0, 1),
    LOWER: _between(0, 50),
    UPPER: _between(50, 100),
    NORM: _norm,
    STRIDES: _steps((1, 2)),
    KERNELS: _steps((1, 3, 5)),
    RESOLUTION: _spacing,
    OBJECT_VOXELS: _between(0, 1e12),
}
"""The keys of a plan, and the check of each value."""
