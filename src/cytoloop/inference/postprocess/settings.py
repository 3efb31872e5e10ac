"""The settings of `postprocess`: checked, and turned into numbers for one image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.instances.rule import BORDERS, METHODS, InstanceRule
from cytoloop.instances.thresholds import AUTOMATIC
from cytoloop.truth.classes import class_names

TUNED = {"threshold": 0.5, "seed_smoothing": 1.0, "min_depth": 0.2}
"""What training chooses on its validation images (`tuned`); these values where it did not."""
SEED_SMOOTHING = (0.5, 1.0, 2.0, 3.0)
MIN_DEPTH = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6)
"""What the watershed is chosen of."""
POSTPROCESS: Mapping[str, Any] = {
    "instances": True,
    "threshold": "tuned",
    "smoothing": 0.0,
    "seed_smoothing": "tuned",
    "min_depth": "tuned",
    "min_volume_um3": None,
    "max_volume_um3": None,
    "fill_holes": True,
    "border": "none",
    "method": "watershed",
    "seed_threshold": 0.67,
    "seed_closing": 6,
}
"""As configs/postprocess/tuned.yaml."""
_RANGES = {
    "threshold": (0.0, 1.0),
    "smoothing": (0.0, 100.0),
    "seed_smoothing": (0.0, 100.0),
    "min_depth": (0.0, 1.0),
    "min_volume_um3": (0.0, math.inf),
    "max_volume_um3": (0.0, math.inf),
    "seed_threshold": (0.0, 1.0),
    "seed_closing": (0, 100),
}
_OPTIONAL = ("min_volume_um3", "max_volume_um3")
_SMALLEST = {2: 10, 3: 30}  # pixels, voxels: below this it is noise, whatever the voxel size
_CRUMB = 0.05  # share of the mean training object below which a piece is no object


@dataclass(frozen=True)
class TrainingFacts:
    """What a model knows of its training images.

    Attributes
    ----------
    spacing_um : sequence of float or None
    object_voxels : float
        Mean size of an object; 0 where unknown.
    tuned : mapping of str to float
        Chosen on the validation images; empty where they were not.
    classes : tuple of str
        In the order of their values; empty where the model tells foreground.
    """

    spacing_um: Sequence[float] | None = None
    object_voxels: float = 0.0
    tuned: Mapping[str, float] | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def from_checkpoint(cls, image: Mapping[str, Any]) -> TrainingFacts:
        """Return the facts that a checkpoint holds; what cannot be was not tuned by us."""
        found = image.get("tuned")
        classes = class_names(image.get("heads"))
        ranges = {name: _RANGES[name] for name in TUNED}
        ranges |= {class_threshold_key(name): _RANGES["threshold"] for name in classes}
        tuned = {
            name: float(value)
            for name, value in (found.items() if isinstance(found, Mapping) else ())
            if name in ranges and isinstance(value, (int, float))
        }
        possible = all(ranges[n][0] <= v < ranges[n][1] for n, v in tuned.items())
        return cls(
            image.get("spacing_um"),
            float(image.get("object_voxels") or 0),
            tuned if possible else None,
            classes,
        )


def check_postprocess(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings."""
    problems = []
    for name, (low, high) in _RANGES.items():
        value = settings.get(name)
        if (name in _OPTIONAL and value is None) or (name in TUNED and value == "tuned"):
            continue
        if name == "threshold" and isinstance(value, str):
            if value not in AUTOMATIC:
                listed = ", ".join(AUTOMATIC)
                problems.append(
                    f"postprocess.threshold={value}: expected a probability, 'tuned', or {listed}"
                )
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problems.append(f"postprocess.{name}={value}: expected a number")
        elif not low <= value < high:
            problems.append(f"postprocess.{name}={value}: expected {low:g} or more, below {high:g}")
    problems += [
        f"postprocess.{name}={settings.get(name)}: expected {', '.join(known)}"
        for name, known in (("border", BORDERS), ("method", METHODS))
        if settings.get(name) not in known
    ]
    problems += [
        f"postprocess.{name}={settings.get(name)}: expected true or false"
        for name in ("instances", "fill_holes")
        if not isinstance(settings.get(name), bool)
    ]
    return problems


def resolve_tuned(settings: Mapping[str, Any], trained: TrainingFacts) -> dict[str, Any]:
    """Return the settings with what training chose in the place of ``tuned``."""
    chosen = TUNED | dict(trained.tuned or {})
    return {
        name: chosen[name] if name in TUNED and value == "tuned" else value
        for name, value in settings.items()
    }


def class_threshold_key(name: str) -> str:
    """Return what the threshold of a class is called among what was tuned."""
    return f"threshold_{name}"


def class_threshold(settings: Mapping[str, Any], trained: TrainingFacts, name: str) -> float | str:
    """Return the probability above which a voxel may be of a class, or how to find it.

    Parameters
    ----------
    settings : mapping
        Of `postprocess`, ``tuned`` not yet replaced.
    trained : Trained
    name : str
        Of the class.
    """
    given = settings["threshold"]
    if given == "tuned":
        return float((trained.tuned or {}).get(class_threshold_key(name), TUNED["threshold"]))
    return given if isinstance(given, str) else float(given)


def instance_rule(
    settings: Mapping[str, Any],
    threshold: float,
    spacing_um: Sequence[float] | None,
    trained: TrainingFacts,
    ndim: int,
) -> InstanceRule:
    """Return how objects are made in one image.

    Without a least volume it is a share of the mean training object; that counts in um3 where
    both voxel sizes are known, else in voxels.

    Parameters
    ----------
    settings : mapping
        Resolved ones.
    threshold : float
        Of this image.
    spacing_um : sequence of float, optional
        (Z, Y, X) of this image.
    trained : Trained
    ndim : int
        2 or 3.
    """
    voxel = math.prod(spacing_um[-ndim:]) if spacing_um else 1.0
    least, most = settings["min_volume_um3"], settings["max_volume_um3"]
    if least is None:
        known = trained.spacing_um if spacing_um else None
        ratio = math.prod(known[-ndim:]) / voxel if known else 1.0
        least_voxels = _CRUMB * trained.object_voxels * ratio
    else:
        least_voxels = float(least) / voxel
    if most is not None and least is not None and most < least:
        raise ConfigError(
            "postprocess.max_volume_um3",
            f"{most:g} is below min_volume_um3={least:g}",
            "No object would be left.",
        )
    return InstanceRule(
        threshold=threshold,
        smoothing=float(settings["smoothing"]),
        seed_smoothing=float(settings["seed_smoothing"]),
        min_depth=float(settings["min_depth"]),
        min_voxels=max(least_voxels, _SMALLEST[ndim]),
        max_voxels=math.inf if most is None else float(most) / voxel,
        fill_holes=settings["fill_holes"],
        border=settings["border"],
        method=settings["method"],
        seed_threshold=float(settings["seed_threshold"]),
        seed_closing=int(settings["seed_closing"]),
    )
