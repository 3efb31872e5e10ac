"""A verb as a Hydra app: composition, log file, errors to exit status 2.

Hydra prints a traceback for a user's typing mistake and exits with 1; here every mistake that
the user can repair ends with a few lines and exit status 2, in `--multirun` too.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from cytoloop.cli.overrides import add_action, is_override, quote_overrides
from cytoloop.errors import ConfigError, CytoloopError, ModelError, OutputError
from cytoloop.redact import redact_text, redact_url
from cytoloop.urls import is_remote

log = logging.getLogger("cytoloop")


_STOPPED = 130
"""Exit status of what was stopped by Ctrl-C, as shells have it."""


class StoppedError(Exception):
    """The user (or the system) stopped the work; the message says how to go on."""


class ExitStatus(int):
    """An exit status that a verb returns as its result: no mistake, no bug."""


def run_verb(verb: str, argv: list[str]) -> int:
    """Compose the verb's config and run it.

    Parameters
    ----------
    verb : str
        Name of a primary config and of a module in `cytoloop.cli.commands` with ``run(cfg)``.
    argv : list of str
        Hydra overrides and flags.

    Returns
    -------
    int
        0 done; 2 a mistake that the user can repair; 1 a bug of ours; 130 stopped; else what
        the verb says (`ExitStatus`).
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let exceptions out: we report them
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # no code from a checkpoint
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    statuses = [0]

    def task(cfg: Any) -> Any:
        status, value = _run_job(verb, cfg)
        statuses.append(status)
        if status == _STOPPED:
            raise SystemExit(_STOPPED)  # out of a sweep too
        return value

    try:
        sys.argv = [f"cytoloop {verb}", *_expand(verb, argv)]
        hydra.main(version_base="1.3", config_path="pkg://cytoloop.configs", config_name=verb)(
            task
        )()
    except (HydraException, OmegaConfBaseException) as error:
        repair = f"See `cytoloop {verb} --help`."
        if any(word.startswith("rerun=") and word != "rerun=null" for word in sys.argv):
            repair += " A word of the repeated training may be one that this version does not"
            repair += " know: then type its other words, without rerun=."
        _tell(ConfigError(f"cytoloop {verb}", _flat(error), repair))
        return 2
    except CytoloopError as error:
        _tell(error)
        return 2
    except SystemExit as stop:  # argparse inside Hydra: --help (0) or a wrong flag (2)
        return int(stop.code or 0)
    except BrokenPipeError:  # whoever reads the help has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is the rest written
    except OSError as error:  # Hydra makes the run's folder before the job starts
        _tell(OutputError(str(error.filename), str(error.strerror), "Take another output=."))
        return 2
    return max(statuses)


def _run_job(verb: str, cfg: Any) -> tuple[int, Any]:
    """Run one job; return its exit status and value, errors reported."""
    from omegaconf import OmegaConf

    logging.captureWarnings(True)
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise ConfigError(
                f"cytoloop {verb}",
                [f"{key}=... is missing" for key in missing],
                f"See `cytoloop {verb} --help` for an example.",
            )
        _check_output(cfg.get("output", "."))
        value = importlib.import_module(f"cytoloop.cli.commands.{verb}").run(cfg)
        return (int(value) if isinstance(value, ExitStatus) else 0), value
    except StoppedError as stop:
        log.info("%s", stop)
        return _STOPPED, None
    except KeyboardInterrupt:
        log.warning("stopped")
        return _STOPPED, None
    except Exception as error:
        mistake = _user_error(error)
        logging.getLogger("traceback").error("", exc_info=error)  # to the log file only
        if mistake is None:
            log.error(
                "%s: %s\nThis is a bug of CytoLoop, or of a library. The traceback is in %s",
                type(error).__name__,
                str(error).strip()[:500],
                _log_file(),
            )
            return 1, None
        _tell(mistake)
        return 2, None


def _check_output(output: Any) -> None:
    """Refuse an output that can be no folder, before any work is done."""
    if not str(output).strip():
        raise OutputError("output", "is empty", "Name a folder.")
    if is_remote(str(output)):
        raise OutputError(redact_url(str(output)), "is a URL", "Expected a folder on this machine.")
    if Path(str(output)).exists() and not Path(str(output)).is_dir():
        raise OutputError(str(output), "is a file, expected a folder", "Take another output=.")


def config_to_dict(cfg: Any) -> dict[str, Any]:
    """Return a config as plain dictionaries and lists, interpolations resolved."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True)
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]


def _expand(verb: str, argv: list[str]) -> list[str]:
    """Add what the verb itself finds out (resume, rerun) and where configs are looked for."""
    words = quote_overrides(verb, add_action(verb, argv))
    if verb == "train":
        from cytoloop.cli.rerun import expand_overrides

        words = expand_overrides(words)
    if not any(word.startswith("hydra.searchpath=") for word in words):
        paths = _search_path(verb, help_only="--help" in words or "-h" in words)
        if paths:
            words.append(f"hydra.searchpath=[{','.join(paths)}]")
    # Hydra's parser wants the overrides in one row: flags go behind them
    return sorted(words, key=lambda word: not is_override(word))


def _search_path(verb: str, help_only: bool) -> list[str]:
    """Return the folders whose groups join ours: the site's overlay, then CytoDL's own groups.

    Hydra takes the first match after our own package, so an overlay adds options, and CytoDL's
    configs can be named but never replace ours.
    """
    overlay = Path(os.environ.get("CYTOLOOP_EXPERIMENTS", "experiments")).absolute()
    paths = [f"'file://{overlay.as_posix()}'"] if overlay.is_dir() else []
    spec = importlib.util.find_spec("cyto_dl") if verb == "train" and not help_only else None
    if spec is not None and spec.origin:
        folder = Path(spec.origin).parent.parent / "configs"
        if folder.is_dir():
            paths.append(f"'file://{folder.as_posix()}'")
    return paths


def _user_error(error: BaseException) -> CytoloopError | None:
    """Return the user's mistake inside an exception (Hydra wraps what `instantiate` raises)."""
    from omegaconf.errors import OmegaConfBaseException

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, CytoloopError):
            return seen
        if isinstance(seen, OmegaConfBaseException):
            return ConfigError("config", _flat(seen), "See --cfg job for the composed config.")
        if type(seen).__name__ == "OutOfMemoryError":
            return ModelError(
                "memory",
                "the device has too little for this patch and batch size",
                "Lower data.batch_size or data.patch_size, or take a smaller model/size.",
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _flat(error: BaseException) -> str:
    """Return Hydra's message in one line, without its internals."""
    noise = ("full_key:", "object_type=", "Set the env")
    text = ""
    for line in (line.strip() for line in str(error).splitlines()):
        if line.startswith("Config search path"):
            break
        line = re.sub(r"^In '[^']*': ", "", line)
        if line and not line.startswith(noise):
            glue = "" if not text else " " if text.endswith((":", ".")) else ", "
            text += glue + line
    return text.replace("':,", "':") or type(error).__name__


def _tell(error: CytoloopError) -> None:
    """Show a user's mistake on standard error, whether logging is set up or not."""
    from cytoloop.terminal import stderr_console

    text = redact_text(f"{type(error).__name__}: {error}")
    stderr_console.print(text, style="red", markup=False, soft_wrap=True)


def _log_file() -> str:
    files = [h.baseFilename for h in logging.getLogger().handlers if hasattr(h, "baseFilename")]
    return files[0] if files else "the log"
