"""A model as MLflow keeps it: a folder for `mlflow.pyfunc.load_model` and `mlflow models serve`.

It holds the checkpoint and names the module that reads it; no class is pickled.
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
_ANY = TensorSpec(np.dtype("O"), (-1,))
"""An array of any dtype and shape; MLflow refuses uint16 where float32 is stated."""


class ServedModel(Protocol):
    """What a version tells of its model, as `cytoloop.inference.pyfunc.Served`."""

    @property
    def path(self) -> Path:
        """The checkpoint."""

    @property
    def sha256(self) -> str:
        """Of the checkpoint."""

    @property
    def axes(self) -> str:
        """Of the array that it takes."""

    @property
    def example(self) -> np.ndarray:
        """An array that it takes."""

    @property
    def expected(self) -> np.ndarray:
        """Its probability."""

    @property
    def parameters(self) -> Mapping[str, tuple[str, Any]]:
        """Name to MLflow's type and default."""

    @property
    def facts(self) -> dict[str, str]:
        """In words."""


def write_mlflow_model(model: ServedModel, folder: Path, files: Mapping[str, str]) -> float:
    """Write the folder, which must not exist, and predict with it as MLflow does.

    Parameters
    ----------
    model : Model
    folder : Path
    files : mapping of str to str
        Name to text of what lies beside the checkpoint: config, scores.

    Returns
    -------
    float
        Largest difference of probabilities from those expected.

    Raises
    ------
    OutputError
        It cannot be written.
    ModelError
        MLflow gets another prediction from it.
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
            input_example=model.example,
            pip_requirements=[f"cytoloop=={__version__}"],
            metadata={"sha256": model.sha256, **model.facts},
        )
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise OutputError(str(folder), f"cannot be written: {reason}", "Try again.") from error
    finally:
        shutil.rmtree(data.parent, ignore_errors=True)
    loaded = mlflow.pyfunc.load_model(str(folder))
    found = np.asarray(loaded.predict(model.example, params={"output": "probability"}))
    difference = float(np.abs(found - model.expected).max())
    if difference > 0:
        raise ModelError(
            str(folder), f"MLflow's prediction differs by {difference:.3g}", "It is not kept."
        )
    return difference


def to_json(values: Mapping[str, Any]) -> str:
    """Return plain values as JSON."""
    return json.dumps(values, indent=2) + "\n"


def _signature(model: ServedModel) -> ModelSignature:
    """Return what goes in and out: objects, or classes, unless ``output`` says otherwise."""
    sides = (-1,) * len(model.axes.lstrip("C"))
    dtype = np.dtype("int32" if model.parameters["output"][1] == "labels" else "uint8")
    return ModelSignature(
        Schema([_ANY]),
        Schema([TensorSpec(dtype, sides)]),
        ParamSchema([ParamSpec(n, kind, value) for n, (kind, value) in model.parameters.items()]),
    )
