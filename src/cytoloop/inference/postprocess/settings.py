"""The settings of `postprocess`: how probability maps become objects or classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cytoloop.bounds import AUTO
from cytoloop.errors import ConfigError
from cytoloop.instances.settings import BORDERS, METHODS
from cytoloop.instances.thresholds import THRESHOLD_METHODS

TUNED: Mapping[str, float] = {
    "threshold": 0.5, "seed_smoothing": 1.0, "min_depth": 0.2, "grow_um": 0.0, "grow_z_um": 0.0,
    "haze": 0.0,
}  # fmt: skip
"""The values that ``tuned`` stands for, and their defaults for a model without tuned values."""
SEED_SMOOTHING = (0.5, 1.0, 2.0, 3.0)
"""Candidates for a tuned ``seed_smoothing``."""
MIN_DEPTH = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6)
"""Candidates for a tuned ``min_depth``."""
RANGES: Mapping[str, tuple[float, float]] = {
    "threshold": (0.0, 1.0),
    "smoothing": (0.0, 100.0),
    "seed_smoothing": (0.0, 100.0),
    "min_depth": (0.0, 1.0),
    "grow_um": (-100.0, 100.0),
    "grow_z_um": (-100.0, 100.0),
    "haze": (0.0, 1.0),
    "min_volume_um3": (0.0, math.inf),
    "max_volume_um3": (0.0, math.inf),
    "seed_threshold": (0.0, 1.0),
    "seed_closing": (0, 100),
    "join_planes": (0.0, 1.0),
}
"""Smallest value, and the limit that a value must stay below."""
_OPTIONAL = ("min_volume_um3", "max_volume_um3", "join_planes")


@dataclass(frozen=True)
class PostprocessSettings:
    """How probability maps become objects or classes; the keys of configs/postprocess.

    Attributes
    ----------
    instances : bool
        False: no mask, labels or table of objects.
    threshold : float or str
        Probability above which a voxel is foreground; a method of scikit-image; or ``tuned``.
    smoothing : float
        Sigma of a Gaussian on the probability, in steps of the finest axis.
    seed_smoothing : float or ``tuned``
        Sigma of a Gaussian on the distance map whose maxima are seeds, in the same steps.
    min_depth : float or ``tuned``
        Relative fall of the distance between two seeds that separates them.
    grow_um, grow_z_um : float or ``tuned``
        How far objects grow within planes and along Z, rounded to voxels; below 0 they shrink.
        Without a voxel size in voxels. Of 2D objects only the first counts.
    haze : float or ``tuned``
        Voxels darker than this are background: 0 = the dark of the image, 0.5 = as around its
        objects, see `cytoloop.inference.windows.brightness`. Objects of which less than 30 % are
        brighter vanish. 0: nothing is cut off.
    min_volume_um3, max_volume_um3 : float or None
        Smaller and larger objects are dropped (um2 in 2D). Without a minimum it is 5 % of the
        mean training object.
    fill_holes : bool or ``auto``
        Background that an object encloses becomes part of the object. ``auto``: as in the
        training of the model, see `TrainingFacts.fill_holes`.
    border : str
        One of `cytoloop.instances.settings.BORDERS`.
    method : str
        One of `cytoloop.instances.settings.METHODS`.
    seed_threshold, seed_closing : float, int
        For ``hitif``, see `cytoloop.instances.settings.InstanceRule`.
    join_planes : float or None
        Of a stack that is predicted plane by plane: objects of neighbouring planes are one object
        if they share more than this fraction of the smaller one. None: objects stay 2D.

    Raises
    ------
    ConfigError
        Values out of range; all of them at once.
    """

    instances: bool = True
    threshold: float | str = "tuned"
    smoothing: float = 0.0
    seed_smoothing: float | str = "tuned"
    min_depth: float | str = "tuned"
    grow_um: float | str = "tuned"
    grow_z_um: float | str = "tuned"
    haze: float | str = "tuned"
    min_volume_um3: float | None = None
    max_volume_um3: float | None = None
    fill_holes: bool | str = AUTO
    border: str = "none"
    method: str = "watershed"
    seed_threshold: float = 0.67
    seed_closing: int = 6
    join_planes: float | None = None

    def __post_init__(self) -> None:
        problems = [p for name in RANGES for p in _range_problems(name, getattr(self, name))]
        problems += [
            f"postprocess.{name}={value}: expected {', '.join(known)}"
            for name, value, known in (
                ("border", self.border, BORDERS),
                ("method", self.method, METHODS),
            )
            if value not in known
        ]
        if not isinstance(self.instances, bool):
            problems.append(f"postprocess.instances={self.instances}: expected true or false")
        if self.fill_holes != AUTO and not isinstance(self.fill_holes, bool):
            problems.append(
                f"postprocess.fill_holes={self.fill_holes}: expected auto, true or false"
            )
        least, most = self.min_volume_um3, self.max_volume_um3
        if not problems and least is not None and most is not None and most < least:
            problems.append(
                f"postprocess.max_volume_um3={most:g}: is below min_volume_um3={least:g}, no "
                "object would be left"
            )
        if problems:
            raise ConfigError("config", problems, "See `cytoloop predict --help`.")

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> PostprocessSettings:
        """Return the settings of a config group.

        Raises
        ------
        ConfigError
            An unknown key, or values out of range.
        """
        known = [field.name for field in fields(cls)]
        unknown = [
            f"postprocess.{name}: unknown key, expected {', '.join(known)}"
            for name in values
            if name not in known
        ]
        if unknown:
            raise ConfigError("config", unknown, "See `cytoloop predict --help`.")
        return cls(**values)

    def resolve_tuned(
        self, tuned: Mapping[str, float] | None, names: Collection[str] = tuple(TUNED)
    ) -> PostprocessSettings:
        """Return the settings with numbers in place of ``tuned``.

        Parameters
        ----------
        tuned : mapping of str to float or None
            See `TrainingFacts.tuned`; `TUNED` stands in for what is missing.
        names : collection of str
            The settings to resolve; default all.
        """
        chosen = {**TUNED, **(tuned or {})}

        values: dict[str, Any] = {n: chosen[n] for n in names if getattr(self, n) == "tuned"}
        return replace(self, **values)


def _range_problems(name: str, value: Any) -> list[str]:
    """Return what is wrong with a setting that is a number."""
    low, high = RANGES[name]
    if (name in _OPTIONAL and value is None) or (name in TUNED and value == "tuned"):
        return []
    if name == "threshold" and isinstance(value, str):
        known = f"expected a probability, 'tuned', or {', '.join(THRESHOLD_METHODS)}"
        return [] if value in THRESHOLD_METHODS else [f"postprocess.threshold={value}: {known}"]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return [f"postprocess.{name}={value}: expected a number"]
    if not low <= value < high:
        return [f"postprocess.{name}={value}: expected {low:g} or more, below {high:g}"]
    return []
