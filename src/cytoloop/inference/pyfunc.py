"""A model for programs that know MLflow and not CytoLoop: an array in, an array out.

MLflow names this module in a registered version and calls `_load_pyfunc`; nothing of ours is
pickled. MLflow itself is not needed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ImageError, ModelError
from cytoloop.inference.postprocess.settings import POSTPROCESS
from cytoloop.inference.predict_array import predict_array
from cytoloop.io.digest import file_hash
from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint, read_checkpoint
from cytoloop.truth.classes import class_names, numbered

CHECKPOINT = "best.ckpt"
OUTPUTS = ("labels", "probability", "mask")
PARAMETERS: Mapping[str, tuple[str, Any]] = {
    "output": ("string", "labels"),
    "threshold": ("double", None),
    "smoothing": ("double", POSTPROCESS["smoothing"]),
    "min_volume_um3": ("double", None),
    "max_volume_um3": ("double", None),
    "border": ("string", POSTPROCESS["border"]),
    "spacing_z_um": ("double", None),
    "spacing_y_um": ("double", None),
    "spacing_x_um": ("double", None),
    "resample": ("boolean", False),
    "tta": ("string", "none"),
    "accelerator": ("string", "auto"),
}
"""Name to MLflow's type and the default; None is as training chose, or not given. Of classes the
``output`` is ``mask`` where none is asked for."""
_SPACING = ("spacing_z_um", "spacing_y_um", "spacing_x_um")
_EXAMPLE = (8, 32, 32)


@dataclass(frozen=True)
class ServedModel:
    """What a registered version tells of its model.

    Attributes
    ----------
    path : Path
        A checkpoint of ours.
    sha256 : str
        Of the file.
    axes : str
        Of the array that it takes: ``YX``, ``ZYX``, or with a channel axis before.
    example : ndarray of float32
        Seeded noise of these axes.
    expected : ndarray of float32
        Its probability.
    parameters : mapping
        See `PARAMETERS`.
    facts : dict of str to str
        In words, for tags.
    """

    path: Path
    sha256: str
    axes: str
    example: np.ndarray
    expected: np.ndarray
    parameters: Mapping[str, tuple[str, Any]]
    facts: dict[str, str]


def served_model(path: str | Path) -> ServedModel:
    """Return what a version tells of a checkpoint; it predicts once, to see that it can.

    Raises
    ------
    ModelError
        It cannot be read, or weights and architecture do not fit.
    """
    checkpoint = read_checkpoint(path)
    image = checkpoint.image
    axes = _axes(checkpoint)
    patch = [int(side) for side in image["patch_size"]]
    sides = [min(n, side) for n, side in zip(_EXAMPLE[-len(patch) :], patch, strict=True)]
    shape = ([int(image["channels"])] if axes[0] == "C" else []) + sides
    example = np.random.default_rng(0).normal(500, 100, shape).round().astype(np.float32)
    spacing = image.get("spacing_um")
    facts = {
        "architecture": describe(checkpoint.backbone),
        "axes": axes,
        "channels": ", ".join(map(str, image.get("channel_names") or [])) or str(image["channels"]),
        "normalization": " ".join(f"{v}" for v in dict(image["normalization"]).values()),
        "patch_size": " ".join(map(str, patch)),
        "spacing_um": " ".join(f"{s:g}" for s in spacing) if spacing else "",
        "classes": numbered(class_names(image.get("heads"))),
    }
    return ServedModel(
        path=checkpoint.path,
        sha256=file_hash(checkpoint.path),
        axes=axes,
        example=example,
        expected=PyFunc(checkpoint.path).predict(example, {"output": "probability"}),
        parameters=_parameters(checkpoint),
        facts={name: text for name, text in facts.items() if text},
    )


class PyFunc:
    """What MLflow calls.

    Parameters
    ----------
    path : Path
        The checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        checkpoint = read_checkpoint(path)
        self.axes = _axes(checkpoint)
        self.classes = class_names(checkpoint.image.get("heads"))
        self.parameters = _parameters(checkpoint)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return the objects of an image, or the map that ``output`` names.

        Parameters
        ----------
        model_input : array
            One image in the grey levels of the microscope: ([C,] [Z,] Y, X), any real dtype.
        params : mapping, optional
            See `PARAMETERS`.

        Returns
        -------
        ndarray
            ([Z,] Y, X): ``labels`` int32, 0 = background; ``probability`` float32, 0 to 1;
            ``mask`` uint8, 0 or 1. Of classes: ``mask`` uint8, the class of each voxel;
            ``probability`` (C, [Z,] Y, X).

        Raises
        ------
        CytoloopError
            An array or a parameter that the model cannot take.
        """
        given = {name: default for name, (_, default) in self.parameters.items()}
        given |= params or {}
        if given["output"] not in OUTPUTS:
            raise ConfigError(
                "output", f"{given['output']!r} is unknown", f"One of {', '.join(OUTPUTS)}."
            )
        if self.classes and given["output"] == "labels":
            raise ConfigError(
                "output",
                "'labels': the model tells classes, not objects",
                "One of mask (the class of each voxel), probability.",
            )
        image = _image(model_input, self.axes)
        spacing = [given.pop(name) for name in _SPACING][-len(self.axes.lstrip("C")) :]
        if None in spacing and any(s is not None for s in spacing):
            raise ConfigError("spacing", f"{spacing}", f"Give all of {', '.join(_SPACING)}.")
        output = given.pop("output")
        if given["threshold"] is None:
            given["threshold"] = "tuned"
        found = predict_array(
            image,
            [self.path],
            spacing_um=None if None in spacing else spacing,
            channel_axis=0 if self.axes[0] == "C" else None,
            **given,
        )
        if output == "probability":
            return found.probability
        return found.mask.astype(np.uint8) if output == "mask" else found.labels.astype(np.int32)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> PyFunc:
    """Return the model; MLflow calls this with the version's folder.

    Raises
    ------
    ModelError
        The folder holds no checkpoint.
    """
    found = sorted(Path(path).rglob(CHECKPOINT))
    if not found:
        raise ModelError(str(path), f"holds no {CHECKPOINT}", "Register the model again.")
    return PyFunc(found[0])


def _parameters(checkpoint: Checkpoint) -> Mapping[str, tuple[str, Any]]:
    """Return what a model takes: one of classes has no objects to give by default."""
    if not class_names(checkpoint.image.get("heads")):
        return PARAMETERS
    return {**PARAMETERS, "output": ("string", "mask")}


def _axes(checkpoint: Checkpoint) -> str:
    spatial = "ZYX"[-int(checkpoint.image["spatial_dims"]) :]
    return spatial if int(checkpoint.image["channels"]) == 1 else f"C{spatial}"


def _image(given: Any, axes: str) -> np.ndarray:
    """Return the array; what came as JSON has no dtype of its own.

    Raises
    ------
    ImageError
    """
    try:
        array = np.asarray(given)
        array = array if array.dtype.kind in "biuf" else array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ImageError("array", f"is no array of numbers: {error}", f"Give {axes}.") from error
    if array.ndim != len(axes):
        raise ImageError(
            "array", f"has shape {array.shape}, the model takes {axes}", "Give one image."
        )
    return array
