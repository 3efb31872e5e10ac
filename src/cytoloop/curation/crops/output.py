"""The output folder of `cytoloop annotate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cytoloop.curation.exchange.recorded_folder import replace_folder
from cytoloop.errors import OutputError
from cytoloop.home import expand_home
from cytoloop.manifest import Row

_RECORD = "annotate.json"
"""File that lists the files of the folder with their hashes, for `overwrite`."""


def output_problems(output: str | Path, source: str | Path, overwrite: bool = False) -> list[str]:
    """Return why a folder cannot be the output of a source, [] if it can."""
    folder, origin = (expand_home(p).resolve() for p in (output, source))
    if origin.is_dir() and folder.is_relative_to(origin):
        return [f"output={output} is inside its source {source}"]
    if origin.is_relative_to(folder):
        return [f"output={output} contains its source {source}"]
    return _content_problems(output, overwrite)


@contextmanager
def replace_output(
    output: str | Path, overwrite: bool = False, rows: Iterable[Row] = ()
) -> Iterator[Path]:
    """Yield a temporary folder that becomes the output when the block ends without an error.

    Parameters
    ----------
    output : str or Path
        A new or empty folder.
    overwrite : bool
        Replace an earlier output of `cytoloop annotate`, if nobody changed it or added files.
    rows : iterable of Row
        Rows whose files must not be in the folder.

    Raises
    ------
    OutputError
        The folder is not empty, holds other files or changed files, or cannot be written.
    """
    if problems := _content_problems(output, overwrite):
        raise OutputError(str(output), problems, "Take another folder.")
    with replace_folder(output, "cytoloop annotate", rows, _RECORD) as staging:
        yield staging.path


def _content_problems(output: str | Path, overwrite: bool) -> list[str]:
    folder = expand_home(output)
    if folder.exists() and not folder.is_dir():
        return [f"output={output} is a file, expected a folder"]
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        return [
            f"output={output} is not empty; take a new folder, or replace what annotate wrote "
            "there with overwrite=true"
        ]
    return []
