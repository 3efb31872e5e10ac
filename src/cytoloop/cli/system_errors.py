"""Errors of the operating system as errors that the user can repair: a full disk, no permission."""

from __future__ import annotations

import errno
import re

from cytoloop.errors import ConfigError, CytoloopError, ModelError, OutputError

_FREE_SPACE = "Free space there, or take another output=. What was complete is kept."
_SYSTEM_ERRORS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _FREE_SPACE),
    errno.EDQUOT: ("your disk quota is used up", _FREE_SPACE),
    errno.EFBIG: ("the file is larger than this disk or your quota allows", _FREE_SPACE),
    errno.EROFS: ("the disk is read-only", "Take another output=, or make it writable."),
    errno.EACCES: ("no permission", "Check the owner and the permissions of this file or folder."),
    errno.EPERM: ("not permitted", "Check the owner and the permissions of this file or folder."),
    errno.EMFILE: ("too many open files", "Raise the limit with `ulimit -n 4096`, then try again."),
    errno.ENFILE: ("too many open files on this machine", "Close other programs, then try again."),
    errno.EIO: ("the disk reports an error", "Check the disk or its connection, then try again."),
    errno.ENAMETOOLONG: ("the name is too long", "Take shorter names of files and folders."),
}
"""What was found and how to repair it, by error number."""

_DATABASE_ERRORS = {
    "disk is full": _SYSTEM_ERRORS[errno.ENOSPC],
    "disk i/o error": _SYSTEM_ERRORS[errno.EIO],
    "readonly database": _SYSTEM_ERRORS[errno.EROFS],
    "unable to open database file": _SYSTEM_ERRORS[errno.EACCES],
}
"""The same for messages of SQLite, which gives no error number."""

_TORCH_WRITER = re.compile(r"PytorchStreamWriter failed|inline_container.*unexpected pos")
"""Messages of torch's own writer, which gives no error number."""


def system_error(error: BaseException) -> CytoloopError | None:
    """Return an error of the operating system in words, None for any other error.

    Only this error is looked at, not its cause.
    """
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        found, repair = _SYSTEM_ERRORS[error.errno]
        where = error.filename2 or error.filename or "output"
        return OutputError(str(where), found, repair)
    if type(error).__name__ == "OperationalError":  # of sqlite3, or of SQLAlchemy
        for text, (found, repair) in _DATABASE_ERRORS.items():
            if text in str(error).lower():
                return OutputError("MLflow store or cache (SQLite)", found, repair)
    if isinstance(error, RuntimeError) and _TORCH_WRITER.search(str(error)):
        return OutputError("output", "torch could not write a file: the disk is full", _FREE_SPACE)
    if type(error).__name__ == "OutOfMemoryError":
        return ModelError(
            "device memory",
            "too small for this patch size and batch size",
            "Lower data.batch_size or data.patch_size, or choose a smaller model/size.",
        )
    if isinstance(error, MemoryError):
        return OutputError(
            "memory",
            f"this machine has too little of it ({str(error) or 'MemoryError'})"[:200],
            "Close other programs, use fewer workers=, or give smaller images.",
        )
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return ConfigError(
            "a number", "has thousands of digits", "Correct it in the command or in the file."
        )
    return None
