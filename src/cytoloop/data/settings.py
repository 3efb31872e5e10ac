"""Settings of the training data, the config keys ``data.*``: their bounds and their checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.bounds import AUTO, Bounds, raise_faults
from cytoloop.io.voxel_size import Spacing

MEDIAN = "median"
"""Value of ``data.resample``: the median voxel size of the images."""

DATA_BOUNDS = (
    Bounds("data.batch_size", 1, 256, also=(AUTO,)),
    Bounds("data.patches_per_image", 1, 1000, also=(None,)),
    Bounds("data.steps_per_epoch", 1, 1_000_000, also=(None,)),
    Bounds("data.foreground_fraction", 0, 1, whole=False, also=(AUTO,)),
    Bounds("data.num_workers", 0, 1024, also=(None,)),
)
PATCH_YX = Bounds("data.patch_size", 8, 512, also=(None, AUTO))
PATCH_Z = Bounds("data.patch_size", 1, 512, also=(None, AUTO))


@dataclass(frozen=True)
class SamplingSettings:
    """Settings of the random patches of an epoch.

    Attributes
    ----------
    patch_size : sequence of int
        [Z,] Y, X.
    batch_size : int
        Patches of a batch, of one process.
    patches_per_image : int or None
        In an epoch. None: as many as fit side by side, 1 to 100; in total at least 128.
    steps_per_epoch : int or None
        Batches of an epoch. None: as many as the patches of all images fill.
    foreground_fraction : float
        Fraction of patches that are placed around a random object, 0 to 1.
    replay_fraction : float
        Fraction of patches from images of an earlier data set, [0, 1).
    seed : int
    """

    patch_size: Sequence[int]
    batch_size: int
    patches_per_image: int | None = None
    steps_per_epoch: int | None = None
    foreground_fraction: float = 1 / 3
    replay_fraction: float = 0.0
    seed: int = 0


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse invalid settings of a data module.

    Parameters
    ----------
    settings : mapping
        All keys of ``data`` that `setting_faults` checks, and their values; none may be ``auto``.

    Raises
    ------
    ConfigError
        All invalid values.
    """
    faults = list(setting_faults(settings))
    invalid = {key for key, _ in faults}
    patch = settings["patch_size"]
    for key, values in (
        ("patch_size", patch if _is_sequence(patch) else [None]),
        ("batch_size", [settings["batch_size"]]),
        ("foreground_fraction", [settings["foreground_fraction"]]),
    ):
        if f"data.{key}" not in invalid and not all(map(_is_number, values)):
            expected = "numbers: [Z,Y,X] or [Y,X]" if key == "patch_size" else "a number"
            faults.append((f"data.{key}", f"is {settings[key]}, expected {expected}"))
    raise_faults(faults, "Take a value that is allowed.")


def setting_faults(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each invalid key of the config's ``data``, and what is wrong with its value.

    Parameters
    ----------
    settings : mapping
        Keys of ``data`` and their values. Missing keys are not checked. Values that the plan sets
        may be ``auto``.
    """
    for bounds in DATA_BOUNDS:
        name = bounds.key.removeprefix("data.")
        if name in settings and (fault := bounds.fault(settings[name])) is not None:
            yield bounds.key, fault
    if "patch_size" in settings:
        yield from (("data.patch_size", fault) for fault in patch_faults(settings["patch_size"]))
    yield from (("data.resample", f) for f in _resample_faults(settings.get("resample")))
    limit = settings.get("cache_limit_gib")
    if limit is not None and not (_is_number(limit) and limit > 0):
        yield "data.cache_limit_gib", f"is {limit}, expected a number above 0, or null"
    fraction, path = settings.get("replay_fraction", 0.0), settings.get("replay_path")
    if not _is_number(fraction) or not 0 <= fraction < 1:
        yield "data.replay_fraction", f"is {fraction}, expected a fraction, 0 to below 1"
    elif (fraction > 0) != (path is not None):
        yield (
            "data.replay_fraction",
            f"is {fraction} and data.replay_path is {path}; set both: data.replay_fraction=0.3 "
            "data.replay_path=EARLIER_DATASET/",
        )


def _resample_faults(wanted: Any) -> Iterator[str]:
    if wanted is None or wanted in (MEDIAN, AUTO):
        return
    is_size = _is_sequence(wanted) and len(wanted) in (2, 3)
    if not is_size or not all(_is_number(one) and 0 < one < math.inf for one in wanted):
        yield f"is {wanted}, expected {MEDIAN}, {AUTO}, or a voxel size in um: [z,y,x] or [y,x]"


def resampled_spacing(resample: Any) -> Spacing | None:
    """Return the voxel size (Z, Y, X) that ``data.resample`` states; None: images as they are.

    ``auto`` that no data set has decided leaves images as they are.
    """
    return None if resample is None or resample == AUTO else full_spacing(resample)


def full_spacing(sizes: Sequence[float]) -> Spacing:
    """Return a voxel size ([Z,] Y, X) as (Z, Y, X); the thickness of a plane is 1 um."""
    z, y, x = (1.0,) * (3 - len(sizes)) + tuple(float(size) for size in sizes)
    return (z, y, x)


def patch_faults(patch: Any) -> Iterator[str]:
    """Yield what is wrong with a patch size: one number for Y and X, or one for each axis."""
    if patch is None or patch == AUTO or isinstance(patch, (int, float, bool)):
        if (fault := PATCH_YX.fault(patch)) is not None:
            yield fault
        return
    if not _is_sequence(patch) or len(patch) not in (2, 3):
        yield f"is {patch}, expected one number, or one for each axis: [Z,Y,X] or [Y,X]"
        return
    for axis, size in zip("ZYX"[-len(patch) :], patch, strict=True):
        if (fault := (PATCH_Z if axis == "Z" else PATCH_YX).fault(size)) is not None:
            yield f"{axis} {fault}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
