"""`cytoloop train background=true`: a training that goes on when its terminal is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cytoloop.cli.overrides import bare_key
from cytoloop.errors import ConfigError, OutputError

KEY = "background"
LOG_FILE = "background.log"
"""File in the output folder with what the training prints."""


def split_background(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether the words request a training in the background, and the other words.

    Raises
    ------
    ConfigError
        Another value than true or false, or a sweep.
    """
    given = [word for word in words if bare_key(word) == KEY and "=" in word]
    others = [word for word in words if word not in given]
    values = {word.partition("=")[2].strip().lower() for word in given}
    if values - {"true", "false"}:
        raise ConfigError("cytoloop train", f"{given[0]}: expected true or false", "")
    if "true" not in values:
        return False, others
    if {"-m", "--multirun"} & set(others):
        raise ConfigError(
            "cytoloop train",
            "background=true and --multirun exclude each other",
            "Start the sweep in a terminal of its own, for example with tmux.",
        )
    return True, others


def start_in_background(words: Sequence[str], cfg: Any) -> int:
    """Start a training in a process of its own session; return the id of the process.

    The process has no terminal, so closing one does not reach it. It is noted in the output folder
    at once: `status` and `cancel` find it.

    Parameters
    ----------
    words : sequence of str
        As typed, without ``background=true``.
    cfg : DictConfig
        The composed config.

    Raises
    ------
    ConfigError
        Another training writes into the output folder.
    OutputError
        The folder holds a trained model, or cannot be written to.
    """
    from cytoloop.terminal import stderr_console
    from cytoloop.tracking.lock import check_not_in_use, note_process
    from cytoloop.tracking.output_folder import check_not_trained
    from cytoloop.tracking.resume import add_training_folder

    folder = Path(str(cfg.output)).absolute()
    if not (cfg.get("resume") or cfg.get("overwrite")):
        check_not_trained(folder)
    check_not_in_use(folder)
    names_folder = any(bare_key(w) in ("output", "resume", "paths.output_dir") for w in words)
    command = [sys.executable, "-m", "cytoloop", "train", *words]
    command += [] if names_folder else [f"output={folder}"]
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.DETACHED_PROCESS}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG_FILE).open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **detached
            )
    except OSError as error:
        raise OutputError(
            str(folder), f"cannot be written to: {error.strerror}", "Choose another output=."
        ) from error
    note_process(folder, process.pid)
    add_training_folder(folder, cfg.paths.runs_dir)
    shown = os.path.relpath(folder)
    stderr_console.print(
        f"training in the background: process {process.pid}, log {shown}/{LOG_FILE}\n"
        f"watch it: cytoloop status run={shown} watch=true\n"
        f"stop it: cytoloop cancel run={shown}",
        markup=False,
        soft_wrap=True,
    )
    return process.pid
