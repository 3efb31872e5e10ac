"""The end of a training: register its model, compare it with the champion, open its run."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from omegaconf import OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.tracking.output_folder import CONFIG_FILE
from cytoloop.viewer.session.commands import Words
from cytoloop.viewer.session.process import VerbProcess

VERDICTS = (0, 3, 4)
"""Exit statuses of `cytoloop models promote` that are a verdict."""
_ADDRESS = re.compile(r"https?://\S+")
_PATIENCE = 180.0
"""Seconds to wait for the server of MLflow."""


def register_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop models register` for a finished training.

    Parameters
    ----------
    values : mapping of str to str
        ``model``: folder of the training; ``name``: of the model in the registry.

    Raises
    ------
    ConfigError
        A field is empty.
    """
    _check(values)
    return ["register", f"checkpoint={values['model']}", f"name={values['name']}"]


def promote_words(values: Mapping[str, str]) -> Words:
    """Return the words of `cytoloop models promote`: the newest version against the champion.

    Both are scored on the test images of the data set, if it has some.

    Raises
    ------
    ConfigError
        A field is empty.
    """
    _check(values)
    truth = held_out(Path(values["model"]))
    words = ["promote", f"checkpoint={values['name']}"]
    return [*words, f"truth={truth}"] if truth else words


def held_out(model: Path) -> str:
    """Return the table of test images of the data set of a training, "" without one."""
    path = model / CONFIG_FILE
    if not path.is_file():
        return ""
    folder = OmegaConf.select(OmegaConf.load(path), "data.path")
    table = Path(str(folder)) / "test.csv"
    return str(table) if folder and table.is_file() else ""


def find_address(text: str) -> str:
    """Return the address in the output of `cytoloop ui`, "" where there is none yet."""
    found = _ADDRESS.search(text)
    return found.group().rstrip(".,;)") if found else ""


def serve_mlflow(started: Callable[[VerbProcess], None]) -> str:
    """Start the pages of MLflow on a free port; return the address.

    Parameters
    ----------
    started : callable
        Takes the process at once: the window may be closed before the server answers.

    Raises
    ------
    ConfigError
        The server does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = VerbProcess("ui", ["--port", str(port)])
    started(process)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.status in (None, 0):
        address = find_address(process.output())
        if address and (process.status == 0 or _answers(address)):
            return address
        time.sleep(0.2)
    process.stop()
    raise ConfigError("cytoloop ui", process.message() or "does not answer", "Run it yourself.")


def _answers(address: str) -> bool:
    """Return whether pages come from an address; a server listens before it can answer."""
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except OSError:
        return False
    return True


def _check(values: Mapping[str, str]) -> None:
    labels = {"model": "Training", "name": "Model name"}
    missing = [f"{label} is empty" for key, label in labels.items() if not values.get(key)]
    if missing:
        raise ConfigError("promote", missing, "Fill in these fields.")
