"""`plan.yaml`: a plan as Hydra config that people read, edit and pass back (`plan=FILE`).

What comes back is data: only the keys of a plan, only numbers and lists of numbers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cytoloop.data.settings import DATA_BOUNDS, PATCH_YX, PATCH_Z
from cytoloop.errors import ConfigError, shortened
from cytoloop.io.atomic import replacing
from cytoloop.training.prepare.bounds import KNOBS
from cytoloop.training.prepare.plan.choices import Choice

_LARGEST = 100_000
"""Bytes of a plan, at most: one has about two thousand."""
_HEAD = """\
# @package _global_
# Plan: what the training images ask for; made from their fingerprint.
# cytoloop train data.path=... plan={path}
# Edit any value; leave a line out, and it is planned anew. docs/training.md tells the rules.
"""


def write_plan(path: Path, choices: Sequence[Choice], fingerprint: Sequence[str]) -> None:
    """Write a plan as YAML, each value below its reason.

    Parameters
    ----------
    path : Path
        Appears whole or not at all.
    choices : sequence of Choice
    fingerprint : sequence of str
        Lines about the images, for the head.
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
        Missing, no YAML, or with keys or values that a plan does not have: all faults at once.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(str(path), "is too large for a plan", "Take a run's plan.yaml.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            str(path), "no such plan", "Take the plan.yaml of a run, or leave plan= out."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(str(path), f"is no YAML: {reason}", "Mend it.") from error
    if not isinstance(content, dict):
        raise ConfigError(str(path), "is no plan: expected keys and values", "Take a plan.yaml.")
    values, problems = {}, []
    for key, value in _flat(content):
        if key not in CHECKS:
            problems.append(f"{key[:80]}: no key of a plan")
        elif fault := CHECKS[key](value):
            problems.append(f"{key} {fault}")
        else:
            values[key] = value
    if problems:
        raise ConfigError(
            str(path), shortened(problems, 12), f"A plan has the keys {', '.join(CHECKS)}."
        )
    return values


def is_plain(key: str, value: Any) -> bool:
    """Tell whether a value is one that a plan may have for a key."""
    return key in CHECKS and CHECKS[key](value) is None


def _flat(table: Mapping[Any, Any], above: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; tables only as deep as a plan has them."""
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
    """Return how many groups two keys begin with alike."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _between(low: float, high: float) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fits = _is_number(value) and low <= value <= high
        return None if fits else f"is {_shown(value)}, expected a number, {low:g} to {high:g}"

    return check


def _patch(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) not in (2, 3):
        return f"is {_shown(value)}, expected [Z,Y,X] or [Y,X]"
    knobs = (PATCH_Z, PATCH_YX, PATCH_YX)[-len(value) :]
    faults = [
        knob.fault(side) or ("" if _is_number(side) else "is no number")
        for knob, side in zip(knobs, value, strict=True)
    ]
    return next((fault for fault in faults if fault), None)


def _steps(allowed: Sequence[int]) -> Callable[[Any], str | None]:
    """Return a check of strides or kernels: one each level, a number or one an axis."""

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
        return None if fine else f"is {_shown(value)}, expected {choice} for each of 2 to 6 levels"

    return check


def _spacing(value: Any) -> str | None:
    fine = isinstance(value, list) and len(value) in (2, 3)
    fine = fine and all(_is_number(one) and 0 < one < 1e6 for one in value)
    return None if fine else f"is {_shown(value)}, expected [Z,Y,X] or [Y,X] in um"


def _norm(value: Any) -> str | None:
    known = ("batch", "instance")
    return None if value in known else f"is {_shown(value)}, expected {', '.join(known)}"


def _shown(value: Any) -> str:
    return repr(value)[:80] if not isinstance(value, (dict, list)) else type(value).__name__


def _knob(key: str) -> Callable[[Any], str | None]:
    knob = next(one for one in (*KNOBS, *DATA_BOUNDS) if one.key == key)
    return lambda value: (
        knob.fault(value) if _is_number(value) else f"is {_shown(value)}, no number"
    )


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "features": _knob("features"),
    "layers": _knob("layers"),
    "data.patch_size": _patch,
    "data.batch_size": _knob("data.batch_size"),
    "data.foreground_fraction": _between(0, 1),
    "normalization.lower": _between(0, 50),
    "normalization.upper": _between(50, 100),
    "model.backbone.norm_name": _norm,
    "model.backbone.strides": _steps((1, 2)),
    "model.backbone.kernel_size": _steps((1, 3, 5)),
    "model.backbone.resolution": _spacing,
    "model.image.object_voxels": _between(0, 1e12),
}
"""What a plan may hold, and what each value must be."""
