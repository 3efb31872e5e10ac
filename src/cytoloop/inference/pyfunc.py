"""The python_function flavour of a model for MLflow: an array in, an array out.

A registered version names this module, and MLflow calls `_load_pyfunc`. No class of CytoLoop is
pickled, and this module does not import MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ImageError, ModelError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.predict_array import predict_array
from cytoloop.intensity.preparation import step_names
from cytoloop.io.digest import file_hash
from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint, read_checkpoint
from cytoloop.model.image_settings import require_image_settings
from cytoloop.truth.classes import class_names, describe_classes

CHECKPOINT = "best.ckpt"
OUTPUTS = ("labels", "probability", "mask")
PARAMETERS: Mapping[str, tuple[str, Any]] = {
    "output": ("string", "labels"),
    "threshold": ("double", None),
    "smoothing": ("double", PostprocessSettings.smoothing),
    "min_volume_um3": ("double", None),
    "max_volume_um3": ("double", None),
    "border": ("string", PostprocessSettings.border),
    "spacing_z_um": ("double", None),
    "spacing_y_um": ("double", None),
    "spacing_x_um": ("double", None),
    "resample": ("boolean", None),
    "tta": ("string", "none"),
    "accelerator": ("string", "auto"),
}
"""Name to MLflow's type and the default. None: tuned in training, or unknown. For a model of
classes the default ``output`` is ``mask``."""
_SPACING = ("spacing_z_um", "spacing_y_um", "spacing_x_um")
_EXAMPLE = (8, 32, 32)


@dataclass(frozen=True)
class ServedModel:
    """A checkpoint with everything that MLflow needs to serve it.

    Attributes
    ----------
    path : Path
        The checkpoint.
    sha256 : str
        Of the file.
    axes : str
        Of the input array: ``YX``, ``ZYX``, ``CYX`` or ``CZYX``.
    example : ndarray of float32
        An input array: seeded noise.
    example_parameters : mapping
        Parameters that the example needs: it has no voxel size, so it is not resampled.
    expected : ndarray of float32
        Probability of the example.
    parameters : mapping
        See `PARAMETERS`.
    facts : dict of str to str
        Description of the model as text, for tags.
    """

    path: Path
    sha256: str
    axes: str
    example: np.ndarray
    example_parameters: Mapping[str, Any]
    expected: np.ndarray
    parameters: Mapping[str, tuple[str, Any]]
    facts: dict[str, str]


def served_model(path: str | Path) -> ServedModel:
    """Return what MLflow needs to serve a checkpoint; predicts once, as a test.

    Raises
    ------
    ModelError
        The checkpoint cannot be read, or weights and architecture do not fit.
    """
    checkpoint = read_checkpoint(path)
    require_image_settings(str(path), checkpoint.image)
    image = checkpoint.image
    axes = _axes(checkpoint)
    patch = [int(side) for side in image["patch_size"]]
    sides = [min(n, side) for n, side in zip(_EXAMPLE[-len(patch) :], patch, strict=True)]
    shape = ([int(image["channels"])] if axes[0] == "C" else []) + sides
    example = np.random.default_rng(0).normal(500, 100, shape).round().astype(np.float32)
    spacing = image.get("spacing_um")
    given = {"resample": False} if image.get("resample") else {}
    facts = {
        "architecture": describe(checkpoint.backbone),
        "axes": axes,
        "channels": ", ".join(map(str, image.get("channel_names") or [])) or str(image["channels"]),
        "normalization": " ".join(f"{v}" for v in dict(image["normalization"]).values()),
        "preparation": step_names(image.get("preparation")),
        "patch_size": " ".join(map(str, patch)),
        "spacing_um": " ".join(f"{s:g}" for s in spacing) if spacing else "",
        "classes": describe_classes(class_names(image.get("heads"))),
    }
    return ServedModel(
        path=checkpoint.path,
        sha256=file_hash(checkpoint.path),
        axes=axes,
        example=example,
        example_parameters=given,
        expected=PyFunc(checkpoint.path).predict(example, {"output": "probability", **given}),
        parameters=_parameters(checkpoint),
        facts={name: text for name, text in facts.items() if text},
    )


class PyFunc:
    """A model as MLflow calls it.

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
        """Return the labels of an image, or the ``output`` of the parameters.

        Parameters
        ----------
        model_input : array
            One image ([C,] [Z,] Y, X) in grey levels of the microscope, any real dtype.
        params : mapping, optional
            See `PARAMETERS`.

        Returns
        -------
        ndarray
            ([Z,] Y, X): ``labels`` int32, 0 = background; ``probability`` float32, 0 to 1;
            ``mask`` uint8, 0 or 1. For classes: ``mask`` uint8, the class of each voxel;
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
                "output", f"{given['output']!r} is unknown", f"Expected {', '.join(OUTPUTS)}."
            )
        if self.classes and given["output"] == "labels":
            raise ConfigError(
                "output",
                "'labels': the model predicts classes, not objects",
                "Expected mask (the class of each voxel) or probability.",
            )
        image = _image(model_input, self.axes)
        spacing = [given.pop(name) for name in _SPACING][-len(self.axes.lstrip("C")) :]
        if None in spacing and any(s is not None for s in spacing):
            raise ConfigError("spacing", f"{spacing}", f"Give all of {', '.join(_SPACING)}.")
        output = given.pop("output")
        if given["threshold"] is None:
            given["threshold"] = "tuned"
        if given["resample"] is None:
            given["resample"] = "auto"
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
    """Return the model of a registered version's folder; called by MLflow.

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
    """Return the parameters of a model; for classes the default output is the mask."""
    if not class_names(checkpoint.image.get("heads")):
        return PARAMETERS
    return {**PARAMETERS, "output": ("string", "mask")}


def _axes(checkpoint: Checkpoint) -> str:
    spatial = "ZYX"[-int(checkpoint.image["spatial_dims"]) :]
    return spatial if int(checkpoint.image["channels"]) == 1 else f"C{spatial}"


def _image(given: Any, axes: str) -> np.ndarray:
    """Return the input as an array; JSON input gets a dtype.

    Raises
    ------
    ImageError
        The input is not an array of numbers, or has other axes than the model.
    """
    try:
        array = np.asarray(given)
        array = array if array.dtype.kind in "biuf" else array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ImageError(
            "array", f"is not an array of numbers: {error}", f"Give {axes}."
        ) from error
    if array.ndim != len(axes):
        raise ImageError(
            "array", f"has shape {array.shape}, the model takes {axes}", "Give one image."
        )
    return array
