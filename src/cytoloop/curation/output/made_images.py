"""The images that curation itself writes into a data set: masks and merged targets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cytoloop.curation.file_names import MASK_FOLDER, REPORT_HTML, TARGET_FOLDER
from cytoloop.curation.region_cells import is_keyword, parse_regions
from cytoloop.manifest import FILE_COLUMNS, Row

_FOLDERS = (MASK_FOLDER, TARGET_FOLDER)
_MADE_NAME = re.compile(r".+_[0-9a-f]{12}\.ome\.tif")
"""Masks and merged targets have a hash of their content in their names."""


@contextmanager
def remove_new_images_on_failure(output: Path) -> Iterator[None]:
    """Remove the masks and merged targets that the block wrote, if it raises."""
    folders = [output / name for name in _FOLDERS]
    before = {path for folder in folders for path in folder.glob("*")}
    is_new = not output.exists()
    try:
        yield
    except BaseException:
        for folder in folders:
            for path in set(folder.glob("*")) - before:
                path.unlink(missing_ok=True)
            _remove_if_empty(folder)
        if is_new:
            _remove_if_empty(output)
        raise


def remove_leftovers(output: Path, rows: Sequence[Row]) -> None:
    """Remove the report, masks and merged targets of a data set that was overwritten.

    Images that the new rows use stay, as do all files that curation did not write.

    Parameters
    ----------
    output : Path
        Folder of the data set.
    rows : sequence of Row
        All rows of the new data set.
    """
    used = {path.resolve() for row in rows for path in _local_files(row)}
    if (output / REPORT_HTML).is_file():
        (output / REPORT_HTML).unlink()
    for folder in (output / name for name in _FOLDERS):
        for path in folder.glob("*"):
            if _MADE_NAME.fullmatch(path.name) and path.resolve() not in used:
                path.unlink()
        _remove_if_empty(folder)


def _local_files(row: Row) -> Iterator[Path]:
    for column in FILE_COLUMNS:
        if row[column]:
            yield Path(row.location(column))
    for kind in ("exclude", "merge"):
        for part in parse_regions(row[kind], row.root):
            if not is_keyword(part):
                yield Path(part)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
