"""A verb as a Hydra app: expand the words, compose the config, run the verb, return a status.

Errors that the user can repair end with a few lines and exit status 2, also within a sweep.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cytoloop.cli import cytodl_experiments
from cytoloop.cli.background import split_background, start_in_background
from cytoloop.cli.compose import Primary, composition_errors, expand_words, find_primary
from cytoloop.cli.config_errors import missing_keys_error
from cytoloop.cli.launched import is_launched, run_launched
from cytoloop.cli.output_lock import lock_output
from cytoloop.cli.overrides import is_override
from cytoloop.cli.reports import find_user_error, report_bug, report_error
from cytoloop.cli.signals import stopped_by_signals
from cytoloop.errors import DONE, STOPPED, ConfigError, CytoloopError, OutputError
from cytoloop.io.notes import forget_notes
from cytoloop.model.trust import trusting
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote

log = logging.getLogger("cytoloop")


_SWITCHES = {
    "train": ("overwrite", "lock", "tune", "score_test", "strict"),
    "predict": ("overwrite",),
    "evaluate": ("log_to_mlflow",),
    "models": ("overwrite", "force"),
    "history": ("overwrite",),
    "synthesize": ("overwrite",),
    "classic": ("overwrite", "preview"),
    "status": ("watch",),
    "study": ("lock",),
}
"""Keys that are true or false and that no settings class checks. ``no`` is text, hence true."""

_WRITES_A_FILE = ("history",)
"""Verbs whose ``output`` is a file; of the other verbs it is a folder."""


class StoppedError(Exception):
    """The user or the system stopped the work; the message says how to continue."""


class ExitStatus(int):
    """The exit status of a verb that has more results than done or failed."""


def run_verb(verb: str, argv: list[str]) -> int:
    """Compose the config of a verb, run the verb and return the exit status.

    Parameters
    ----------
    verb : str
        Name of a primary config, and of a module in `cytoloop.cli.commands` with ``run(cfg)``.
    argv : list of str
        Hydra overrides and flags.

    Returns
    -------
    int
        0 done; 1 a bug of CytoLoop; 2 an error that the user can repair; 130 stopped; other
        values are results of the verb (`ExitStatus`).
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises its errors; we report them
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # no code from a checkpoint
    logging.raiseExceptions = False  # a log file on a full disk prints no traceback for each line
    if verb == "train" and is_launched():
        return run_launched(argv, lambda: _run_reported(verb, argv), report_error)
    return _run_reported(verb, argv)


def _run_reported(verb: str, argv: list[str]) -> int:
    """Run a verb, report its errors and return the exit status."""
    try:
        in_background, argv = split_background(argv) if verb == "train" else (False, argv)
        with composition_errors(verb, argv):
            words = expand_words(verb, argv)
            primary = find_primary(verb, words)
        with composition_errors(verb, words, primary):
            if in_background:
                return _compose_and_detach(argv, words, primary)
            return compose_and_run(verb, words, primary)
    except CytoloopError as error:
        return report_error(error)
    except SystemExit as stop:  # from Hydra's parser: --help (0) or a wrong flag (2)
        return int(stop.code or DONE)
    except BrokenPipeError:  # the reader of the help, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def compose_and_run(verb: str, words: Sequence[str], primary: Primary) -> int:
    """Compose the config and run one job, or all jobs of a sweep; return the highest status."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    statuses = [DONE]
    program = sys.argv[0]

    def job(cfg: Any) -> Any:
        # Lightning starts the other processes of this job with these words
        sys.argv = [program, verb, *HydraConfig.get().overrides.task]
        status, value = run_job(verb, cfg, primary.command)
        statuses.append(status)
        if status == STOPPED:
            raise SystemExit(STOPPED)  # ends a sweep too
        return value

    sys.argv = [f"cytoloop {verb}", *words]
    path = f"pkg://{primary.module}"
    hydra.main(version_base="1.3", config_path=path, config_name=primary.config)(job)()
    return max(statuses)


def _compose_and_detach(argv: Sequence[str], words: Sequence[str], primary: Primary) -> int:
    """Compose the config of a training, and start it in the background if nothing is wrong."""
    from hydra import compose, initialize_config_module
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    with initialize_config_module(primary.module, "train", version_base="1.3"):
        overrides = [word for word in words if is_override(word)]
        cfg = compose(primary.config, overrides, return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.runtime.output_dir = str(Path(str(cfg.output)).absolute())
            cfg.hydra.job.update({"num": 0, "id": "0"})
            HydraConfig.instance().set_config(cfg)
            del cfg["hydra"]
        check_config("train", cfg)
        start_in_background(argv, cfg)
    return DONE


def run_job(verb: str, cfg: Any, command: str | None = None) -> tuple[int, Any]:
    """Run a verb with a composed config; return the exit status and the verb's result.

    `command` is the module in `cytoloop.cli.commands` that runs it, by default that of the verb.
    """
    logging.captureWarnings(True)
    forget_notes()
    try:
        check_config(verb, cfg)
        with trusting(cfg.get("trust")), lock_output(verb, cfg), stopped_by_signals(verb):
            value = importlib.import_module(f"cytoloop.cli.commands.{command or verb}").run(cfg)
        return (int(value) if isinstance(value, ExitStatus) else DONE), value
    except StoppedError as stop:
        log.info("%s", stop)
        return STOPPED, None
    except KeyboardInterrupt:
        log.warning("stopped")
        return STOPPED, None
    except Exception as error:
        logging.getLogger("traceback").error("", exc_info=error)  # to the log file only
        user_error = find_user_error(error)
        return (report_bug(error) if user_error is None else report_error(user_error)), None


def check_config(verb: str, cfg: Any) -> None:
    """Refuse a config that lacks required keys, has a wrong switch, or whose output is no folder.

    Raises
    ------
    ConfigError, OutputError
    """
    from omegaconf import OmegaConf

    if missing := cytodl_experiments.unset_keys(cfg) or OmegaConf.missing_keys(cfg):
        raise missing_keys_error(verb, missing)
    wrong = [
        f"{key}={cfg[key]}: expected true or false"
        for key in _SWITCHES.get(verb, ())
        if cfg.get(key) is not None and not isinstance(cfg[key], bool)
    ]
    if wrong:
        raise ConfigError(f"cytoloop {verb}", wrong, f"See `cytoloop {verb} --help`.")
    output = cfg.get("output")
    if output is None or verb in _WRITES_A_FILE:
        return
    if is_remote(str(output)):
        raise OutputError(
            f"output={redact_url(str(output))}",
            "is a URL, expected a folder on this machine",
            "Write to a local folder and copy it.",
        )
    if Path(str(output)).exists() and not Path(str(output)).is_dir():
        raise OutputError(str(output), "is a file, expected a folder", "Choose another output=.")


def config_to_dict(cfg: Any) -> dict[str, Any]:
    """Return a config as plain dictionaries and lists, with interpolations resolved."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True)
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]
