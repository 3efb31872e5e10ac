"""How a verb reports errors: a few lines for those that the user can repair, the log for bugs."""

from __future__ import annotations

import logging
from contextlib import suppress

from cytoloop.cli.config_errors import one_line
from cytoloop.cli.system_errors import system_error
from cytoloop.errors import BUG, USER_ERROR, ConfigError, CytoloopError
from cytoloop.redact import redact_text

log = logging.getLogger("cytoloop")


def report_error(error: CytoloopError) -> int:
    """Print an error that the user can repair on standard error; return the exit status 2."""
    from cytoloop.terminal import stderr_console

    text = redact_text(f"{type(error).__name__}: {error}")
    with suppress(OSError):  # standard error may be a file on a full disk
        stderr_console.print(text, style="red", markup=False, soft_wrap=True)
    return USER_ERROR


def report_bug(error: Exception) -> int:
    """Log an unexpected error and where its traceback is; return the exit status 1."""
    handlers = logging.getLogger().handlers
    files = [one.baseFilename for one in handlers if isinstance(one, logging.FileHandler)]
    log.error(
        "%s: %s\nThis is a bug of CytoLoop or of a library. The traceback is in %s",
        type(error).__name__,
        str(error).strip()[:500],
        files[0] if files else "the log file",
    )
    return BUG


def find_user_error(error: BaseException) -> CytoloopError | None:
    """Return the error inside an exception that the user can repair, None if there is none.

    Hydra's `instantiate` wraps the exceptions of the objects that it builds. Errors of the
    operating system, such as a full disk, are found here for all verbs.
    """
    from omegaconf.errors import OmegaConfBaseException

    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, CytoloopError):
            return inner
        if isinstance(inner, OmegaConfBaseException):
            return ConfigError(
                "config", one_line(inner), "Add `--cfg job` to the command to print the config."
            )
        if (found := system_error(inner)) is not None:
            return found
        inner = inner.__cause__ or inner.__context__
    return None
