"""Facts about a model's training images that post-processing needs, kept in ``model.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cytoloop.inference.postprocess.settings import RANGES, TUNED
from cytoloop.io.atomic import replacing
from cytoloop.truth.classes import class_names

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
    """

    spacing_um: Sequence[float] | None = None
    object_voxels: float = 0.0
    tuned: Mapping[str, float] | None = None
    classes: tuple[str, ...] = ()
    output: str | None = None
    skeleton_rule: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_checkpoint(cls, image: Mapping[str, Any]) -> TrainingFacts:
        """Return the facts in a checkpoint's ``image`` entry.

        Tuned values are ignored if any of them is out of range: another program wrote them.
        """
        found = image.get("tuned")
        classes = class_names(image.get("heads"))
        ranges = {name: RANGES[name] for name in TUNED}
        ranges |= {class_threshold_key(name): RANGES["threshold"] for name in classes}
        tuned = {
            name: float(value)
            for name, value in (found.items() if isinstance(found, Mapping) else ())
            if name in ranges and isinstance(value, (int, float))
        }
        in_range = all(ranges[name][0] <= v < ranges[name][1] for name, v in tuned.items())
        return cls(
            image.get("spacing_um"),
            float(image.get("object_voxels") or 0),
            tuned if in_range else None,
            classes,
            image.get("output"),
            dict(image.get("skeleton_rule") or {}),
        )

    @classmethod
    def read(cls, folder: Path) -> TrainingFacts:
        """Return the facts that `write` left in a folder of predictions; unknown without them."""
        try:
            facts = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        classes = tuple(str(name) for name in facts.get("classes", ()))
        return cls(
            facts["spacing_um"],
            float(facts["object_voxels"]),
            facts["tuned"],
            classes,
            facts.get("output"),
            facts.get("skeleton_rule") or {},
        )

    def write(self, folder: Path) -> None:
        """Write the facts as ``model.json`` into a folder of predictions."""
        with replacing(folder / MODEL_FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def class_threshold_key(name: str) -> str:
    """Return the key of a class's threshold among the tuned values.

    >>> class_threshold_key("nucleus")
    'threshold_nucleus'
    """
    return f"threshold_{name}"
