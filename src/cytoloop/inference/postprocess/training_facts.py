"""Facts about a model's training images that post-processing needs, kept in ``model.json``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError
from cytoloop.inference.postprocess.settings import RANGES, TUNED
from cytoloop.io.atomic import replacing
from cytoloop.model.image_settings import facts_problems
from cytoloop.truth.classes import class_names

log = logging.getLogger(__name__)

MODEL_FILE = "model.json"


@dataclass(frozen=True)
class TrainingFacts:
    """Facts about a model's training images.

    Attributes
    ----------
    spacing_um : sequence of float or None
        Voxel size (Z, Y, X); None where it is unknown.
    object_voxels : float
        Mean size of an object; 0 where it is unknown.
    tuned : mapping of str to float or None
        Post-processing values chosen on the validation images; None where there are none.
    classes : tuple of str
        Names, in the order of their values; empty for a model of foreground.
    output : str or None
        ``intensity`` or ``skeletons`` for a network of another kind, see
        `cytoloop.inference.windows.map_names`.
    skeleton_rule : mapping of str to float
        Arguments of `cytoloop.instances.skeletons.SkeletonRule`.
    spatial_dims : int or None
        2 or 3, of the model; None where it is unknown.
    fill_holes : bool
        False: the background that an object encloses is not part of it (filaments, shells).
    object_diameter : float or None
        Typical diameter of the objects of one image, in um; in pixels without a voxel size. None
        where it was not stated and could not be measured.
    """

    spacing_um: Sequence[float] | None = None
    object_voxels: float = 0.0
    tuned: Mapping[str, float] | None = None
    classes: tuple[str, ...] = ()
    output: str | None = None
    skeleton_rule: Mapping[str, float] = field(default_factory=dict)
    spatial_dims: int | None = None
    fill_holes: bool = True
    object_diameter: float | None = None

    def goes_by_plane(self, shape: Sequence[int]) -> bool:
        """Return whether an image of a shape is a stack that a 2D model takes plane by plane."""
        return self.spatial_dims == 2 and len(shape) == 3

    @classmethod
    def from_checkpoint(cls, image: Mapping[str, Any]) -> TrainingFacts:
        """Return the facts in a checkpoint's ``image`` entry.

        Tuned values are ignored, with a warning, if any of them is out of range: another program
        wrote them.
        """
        return cls._of(image, class_names(image.get("heads")))

    @classmethod
    def _of(cls, facts: Mapping[str, Any], classes: tuple[str, ...]) -> TrainingFacts:
        return cls(
            facts.get("spacing_um"),
            float(facts.get("object_voxels") or 0),
            _tuned_values(facts, classes),
            classes,
            facts.get("output"),
            dict(facts.get("skeleton_rule") or {}),
            facts.get("spatial_dims"),
            facts.get("fill_holes") is not False,
        )

    @classmethod
    def read(cls, folder: Path) -> TrainingFacts:
        """Return the facts that `write` left in a folder of predictions; unknown without them.

        Raises
        ------
        ModelError
            The file is damaged, or holds values out of range.
        """
        path = folder / MODEL_FILE
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise _damaged_error(path, [f"is not JSON: {error}"]) from error
        if not isinstance(facts, dict):
            raise _damaged_error(path, ["holds no facts about a model"])
        if problems := facts_problems(facts):
            raise _damaged_error(path, problems)
        classes = tuple(str(name) for name in facts.get("classes") or ())
        return cls._of(facts, classes)

    def write(self, folder: Path) -> None:
        """Write the facts as ``model.json`` into a folder of predictions."""
        with replacing(folder / MODEL_FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def _tuned_values(facts: Mapping[str, Any], classes: Sequence[str]) -> dict[str, float] | None:
    """Return the tuned values that post-processing knows, None where one is out of range."""
    found = facts.get("tuned")
    ranges = {name: RANGES[name] for name in TUNED}
    ranges |= {class_threshold_key(name): RANGES["threshold"] for name in classes}
    tuned = {
        name: float(value)
        for name, value in (found.items() if isinstance(found, Mapping) else ())
        if name in ranges and isinstance(value, (int, float))
    }
    if all(ranges[name][0] <= value < ranges[name][1] for name, value in tuned.items()):
        return tuned
    values = " ".join(f"{name}={value:g}" for name, value in tuned.items())
    log.warning("the tuned post-processing is out of range (%s): the defaults are used", values)
    return None


def _damaged_error(path: Path, problems: Sequence[str]) -> ModelError:
    return ModelError(str(path), problems, "Predict these images again.")


def class_threshold_key(name: str) -> str:
    """Return the key of a class's threshold among the tuned values.

    >>> class_threshold_key("nucleus")
    'threshold_nucleus'
    """
    return f"threshold_{name}"
