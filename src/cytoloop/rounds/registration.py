"""Models in and out of the registry: register the model of a run, import one, export one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cytoloop.errors import ConfigError
from cytoloop.home import expand_home
from cytoloop.inference.pyfunc import served_model
from cytoloop.io.atomic import replacing_folder
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.convert import converted_checkpoint
from cytoloop.model.exporters import About, check_output, export_model
from cytoloop.tracking.checkpoints import locate_checkpoint
from cytoloop.tracking.mlflow_model import write_mlflow_model
from cytoloop.tracking.register_model import register_model
from cytoloop.tracking.registry import Version, check_model_name, read_run_scores


def register_checkpoint(uri: str, name: str) -> Version:
    """Register the model of a run, and return its version.

    Parameters
    ----------
    uri : str
        Checkpoint, see `cytoloop.tracking.checkpoints.locate_checkpoint`.
    name : str
        Name of the model.

    Raises
    ------
    ConfigError
        The name is not valid, or the checkpoint has no run in this store.
    ModelError
        The checkpoint does not exist or cannot be read.
    """
    check_model_name(name)
    located = locate_checkpoint(uri)
    if located.run_id is None:
        raise ConfigError(
            uri,
            "no run of this checkpoint is known",
            f"Create a run for it: cytoloop models import checkpoint={uri} name={name}",
        )
    with converted_checkpoint(located.path) as file:
        return register_model(name, served_model(file), located.run_id, uri)


def import_checkpoint(uri: str, name: str) -> Version:
    """Register a model of another tool or store in a run of its own, and return its version.

    Parameters
    ----------
    uri : str
        Checkpoint, see `cytoloop.tracking.checkpoints.locate_checkpoint`; also a .zip file of a
        folder with one.
    name : str
        Name of the model.

    Raises
    ------
    ConfigError
        The name is not valid.
    ModelError
        The checkpoint does not exist, cannot be read exactly, or may hold code.
    """
    check_model_name(name)
    is_zip = uri.lower().endswith(".zip")
    path = expand_home(uri) if is_zip else locate_checkpoint(uri).path
    with converted_checkpoint(path) as file:
        return register_model(name, served_model(file), None, uri)


def export_checkpoint(
    uri: str, form: str, output: str | Path, about: About, overwrite: bool = False
) -> float:
    """Write a model in the format of another tool, read it again and compare.

    Parameters
    ----------
    uri : str
        Checkpoint, see `cytoloop.tracking.checkpoints.locate_checkpoint`.
    form : str
        ``pyfunc``, or one of `cytoloop.model.exporters.FORMATS`.
    output : str or Path
        Folder to create.
    about : About
        Its scores are filled in from the run of the checkpoint.
    overwrite : bool
        Replace the content of the folder.

    Returns
    -------
    float
        Largest absolute difference between the outputs of the written model and the original.

    Raises
    ------
    ConfigError
        The format is unknown.
    ModelError
        There is no such checkpoint, the format cannot hold the model, or its output differs.
    OutputError
        The folder is not empty, or cannot be written.
    """
    located = locate_checkpoint(uri)
    if form == "pyfunc":
        check_output(output, overwrite)
        with converted_checkpoint(located.path) as file, replacing_folder(output) as folder:
            return write_mlflow_model(served_model(file), folder, {})
    about = replace(about, scores=read_run_scores(located.run_id))
    return export_model(read_checkpoint(located.path), form, output, about, overwrite)
