"""Files of a table that exist under another spelling or in the working folder."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from cytoloop.manifest.columns import FILE_COLUMNS
from cytoloop.manifest.paths import absolute_path
from cytoloop.manifest.row import Row
from cytoloop.urls import is_remote

log = logging.getLogger(__name__)


def find_files(rows: Iterable[Row], table: Path, columns: Sequence[str] = FILE_COLUMNS) -> None:
    """Correct the cells whose file exists only under another spelling or in the working folder.

    Tried in this order, below the folder of the table and then below the working folder: the text
    as it is, with slashes for backslashes (tables of Windows), and in both Unicode forms. A cell
    whose file does not exist at all stays as it is.

    Parameters
    ----------
    rows : iterable of Row
        Changed in place.
    table : Path
        For the warning about files that were found in the working folder.
    columns : sequence of str
        Columns that hold paths.
    """
    elsewhere = 0
    for row in rows:
        for column in columns:
            text = row[column]
            if not text or is_remote(text) or _exists(absolute_path(text, row.root)):
                continue
            if found := _find(text, row.root):
                row.values[column] = str(found)
            elif found := _find(text, Path.cwd()):
                row.values[column] = str(found)
                elsewhere += 1
    if elsewhere:
        log.warning(
            "%s: %d relative path(s) lead to no file from the folder of the table; took those "
            "from the working folder, %s",
            table,
            elsewhere,
            Path.cwd(),
        )


def _find(text: str, folder: Path) -> Path | None:
    """Return the file that a cell means, below a folder; None if there is none."""
    for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
        for form in (spelling, *(unicodedata.normalize(f, spelling) for f in ("NFC", "NFD"))):
            path = absolute_path(form, folder)
            if _exists(path):
                return path
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that the file system refuses
        return False
