"""Checks of a checkpoint's image settings: all values that prediction computes with."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.bounds import AUTO
from cytoloop.errors import ModelError, truncate_lines
from cytoloop.intensity.normalization import DEFAULT_LOWER, DEFAULT_UPPER, rule_problems
from cytoloop.intensity.preparation import step_faults
from cytoloop.model.architecture import check_patch_size

log = logging.getLogger(__name__)

_REQUIRED = ("spatial_dims", "channels", "patch_size", "normalization")
"""Settings for which no value can be assumed."""

_MAX_CHANNELS = 4096
_MAX_STEP_UM = 1e6
_MAX_OBJECT_VOXELS = 2.0**48


def check_image_settings(where: str, image: Mapping[str, Any]) -> None:
    """Refuse image settings that are out of range; settings may be missing.

    Parameters
    ----------
    where : str
        The file, for messages.
    image : mapping
        The ``image`` entry of a checkpoint.

    Raises
    ------
    ModelError
        All settings that are out of range.
    """
    if image.get("patch_size") is not None:
        check_patch_size(where, image["patch_size"])
    problems = [
        *_shape_problems(image),
        *_normalization_problems(image.get("normalization")),
        *(f"preparation{key} {fault}" for key, fault in step_faults(image.get("preparation"))),
        *facts_problems(image),
    ]
    _raise_problems(where, problems)


def require_image_settings(where: str, image: Mapping[str, Any]) -> None:
    """Refuse image settings that lack what a prediction needs.

    Percentiles that are missing are assumed, with a warning.

    Parameters
    ----------
    where, image
        See `check_image_settings`.

    Raises
    ------
    ModelError
        All settings that are missing.
    """
    problems = [f"{name} is missing" for name in _REQUIRED if image.get(name) is None]
    rule = image.get("normalization") or {}
    if "normalization" in image and "method" not in rule:
        problems.append("normalization names no method: the grey levels of training are unknown")
    _raise_problems(where, problems)
    assumed = {"lower": DEFAULT_LOWER, "upper": DEFAULT_UPPER}
    if rule["method"] == "percentile" and (missing := [k for k in assumed if k not in rule]):
        values = " and ".join(f"{name}={assumed[name]:g}" for name in missing)
        log.warning("%s: its normalisation lacks percentiles: %s assumed", where, values)


def facts_problems(facts: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with voxel size, object size and holes of the training images.

    Parameters
    ----------
    facts : mapping
        ``spacing_um``: (Z, Y, X) in um; ``object_voxels``: mean size of an object;
        ``fill_holes``. Each may be missing, which means unknown.
    """
    problems = []
    spacing = facts.get("spacing_um")
    if spacing is not None and not (
        _is_list(spacing, 3) and all(_is_number(step, 0, _MAX_STEP_UM) for step in spacing)
    ):
        problems.append(f"spacing_um is {_shown(spacing)}, expected [z, y, x] in um, each above 0")
    size = facts.get("object_voxels")
    if size is not None and size != 0 and not _is_number(size, 0, _MAX_OBJECT_VOXELS):
        problems.append(f"object_voxels is {_shown(size)}, expected a number of voxels, 0 or more")
    if (fill := facts.get("fill_holes", True)) not in (True, False, AUTO):
        problems.append(f"fill_holes is {_shown(fill)}, expected true, false or auto")
    return problems


def _shape_problems(image: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with dimensions, channels, zoom and the names of channels."""
    problems = []
    dims, channels = image.get("spatial_dims"), image.get("channels")
    if dims is not None and (isinstance(dims, bool) or dims not in (2, 3)):
        problems.append(f"spatial_dims is {_shown(dims)}, expected 2 or 3")
    if channels is not None and not (
        isinstance(channels, int) and _is_number(channels, 0, _MAX_CHANNELS)
    ):
        problems.append(f"channels is {_shown(channels)}, expected a whole number from 1")
    patch: Any = image.get("patch_size")
    if dims in (2, 3) and _is_list(patch) and len(patch) != dims:
        problems.append(f"patch_size is {_shown(patch)}, expected {dims} sides")
    zoom = image.get("zoom")
    if zoom and not (_is_list(zoom) and all(_is_number(factor, 0, 1000) for factor in zoom)):
        problems.append(f"zoom is {_shown(zoom)}, expected factors above 0")
    if not isinstance(planes := image.get("planes", False), bool):
        problems.append(f"planes is {_shown(planes)}, expected true or false")
    halo = image.get("halo")
    if halo is not None and not _fits(halo, patch):
        problems.append(f"halo is {_shown(halo)}, expected voxels, less than half a patch each")
    if image.get("window") not in (None, "patch"):
        problems.append(f"window is {_shown(image['window'])}, expected patch")
    names = image.get("channel_names")
    if names and not (_is_list(names) and all(isinstance(name, str) for name in names)):
        problems.append(f"channel_names is {_shown(names)}, expected a list of names")
    return problems


def _normalization_problems(rule: Any) -> list[str]:
    """Return what is wrong with the rule of normalisation, which may be missing."""
    if rule is None:
        return []
    if not isinstance(rule, Mapping):
        return [f"normalization is {_shown(rule)}, expected a method and its values"]
    return [f"normalization.{key} {problem}" for key, problem in rule_problems(rule)]


def _raise_problems(where: str, problems: Sequence[str]) -> None:
    if problems:
        raise ModelError(
            where,
            truncate_lines([f"in the image settings, {text}" for text in problems], 12),
            "The model is not loaded. Restore the original file.",
        )


def _is_list(value: Any, length: int | None = None) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and (length is None or len(value) == length)


def _fits(halo: Any, patch: Any) -> bool:
    """Return whether a halo leaves something of a patch along each axis."""
    if not _is_list(patch) or not _is_list(halo, len(patch)):
        return False
    return all(
        isinstance(margin, int) and 0 <= 2 * margin < side
        for margin, side in zip(halo, patch, strict=True)
    )


def _is_number(value: Any, above: float, most: float) -> bool:
    """Return whether a value is a finite number above a limit, and at most another."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and above < value <= most


def _shown(value: Any) -> str:
    return repr(value)[:60]
