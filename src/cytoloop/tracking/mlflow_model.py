"""A model as an MLflow model folder, for `mlflow.pyfunc.load_model` and `mlflow models serve`.

The folder holds the checkpoint and names the module that reads it; no class is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

from cytoloop.errors import ModelError, OutputError
from cytoloop.tracking.store import quiet_mlflow
from cytoloop.version import __version__

_LOADER = "cytoloop.inference.pyfunc"
_ANY_ARRAY = TensorSpec(np.dtype("O"), (-1,))
"""An array of any dtype and shape: MLflow would refuse uint16 if float32 were stated."""


class ServedModel(Protocol):
    """A checkpoint with what a version states about it; see `cytoloop.inference.pyfunc.Served`."""

    @property
    def path(self) -> Path:
        """The checkpoint."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the checkpoint."""

    @property
    def axes(self) -> str:
        """Axes of the input array, for example ``ZYX``."""

    @property
    def example(self) -> np.ndarray:
        """An input array."""

    @property
    def example_parameters(self) -> Mapping[str, Any]:
        """Parameters that the example needs."""

    @property
    def expected(self) -> np.ndarray:
        """The probability of the example."""

    @property
    def parameters(self) -> Mapping[str, tuple[str, Any]]:
        """Name of each parameter to MLflow's type and the default."""

    @property
    def facts(self) -> dict[str, str]:
        """Facts about the model (name to text), for tags."""


def write_mlflow_model(model: ServedModel, folder: Path, files: Mapping[str, str]) -> float:
    """Write an MLflow model folder, load it as MLflow does and compare its prediction.

    Parameters
    ----------
    model : ServedModel
    folder : Path
        Must not exist.
    files : mapping of str to str
        Name to text of files beside the checkpoint: config, scores.

    Returns
    -------
    float
        Largest absolute difference of probabilities from the expected ones.

    Raises
    ------
    OutputError
        The folder cannot be written.
    ModelError
        The prediction differs.
    """
    import mlflow.pyfunc

    quiet_mlflow()
    data = folder.with_name(f"{folder.name}.data") / "model"
    data.mkdir(parents=True)
    try:
        shutil.copyfile(model.path, data / "best.ckpt")
        for name, text in files.items():
            (data / name).write_text(text, encoding="utf-8")
        mlflow.pyfunc.save_model(
            folder,
            loader_module=_LOADER,
            data_path=str(data),
            signature=_signature(model),
            input_example=_input_example(model),
            pip_requirements=[f"cytoloop=={__version__}"],
            metadata={"sha256": model.sha256, **model.facts},
        )
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise OutputError(str(folder), f"cannot be written: {reason}", "Try again.") from error
    finally:
        shutil.rmtree(data.parent, ignore_errors=True)
    loaded = mlflow.pyfunc.load_model(str(folder))
    parameters = {"output": "probability", **model.example_parameters}
    found = np.asarray(loaded.predict(model.example, params=parameters))
    difference = float(np.abs(found - model.expected).max())
    if difference > 0:
        raise ModelError(
            str(folder),
            f"the prediction through MLflow differs by {difference:.3g}, expected 0",
            "The folder is not kept.",
        )
    return difference


def to_json(values: Mapping[str, Any]) -> str:
    """Return plain values as indented JSON."""
    return json.dumps(values, indent=2) + "\n"


def _input_example(model: ServedModel) -> Any:
    """Return the example as MLflow takes it: with its parameters, where it needs some."""
    given = dict(model.example_parameters)
    return (model.example, given) if given else model.example


def _signature(model: ServedModel) -> ModelSignature:
    """Return the input and output types, for the default value of the parameter ``output``."""
    sides = (-1,) * len(model.axes.lstrip("C"))
    dtype = np.dtype("int32" if model.parameters["output"][1] == "labels" else "uint8")
    return ModelSignature(
        Schema([_ANY_ARRAY]),
        Schema([TensorSpec(dtype, sides)]),
        ParamSchema([ParamSpec(n, kind, value) for n, (kind, value) in model.parameters.items()]),
    )
