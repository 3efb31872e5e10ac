"""Paths as the tables of a data set contain them: relative to it, or absolute."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation.region_cells import format_regions, is_keyword, parse_regions
from cytoloop.curation.settings import CurationSettings
from cytoloop.errors import OutputError
from cytoloop.manifest import FILE_COLUMNS, Row, absolute_path
from cytoloop.urls import is_remote


@dataclass(frozen=True)
class TablePaths:
    """How the tables of a data set name files.

    Attributes
    ----------
    folder : Path
        Folder of the data set, absolute and without links.
    absolute : bool
        Whether paths are absolute.
    """

    folder: Path
    absolute: bool

    @classmethod
    def of(cls, settings: CurationSettings) -> TablePaths:
        """Return the paths that settings request."""
        folder = absolute_path(str(settings.output)).resolve()
        return cls(folder, settings.paths == "absolute")

    def path(self, file: str) -> str:
        """Return an absolute path as a table contains it; a URL as it is.

        Raises
        ------
        OutputError
            The file is on another drive, so it has no relative path.
        """
        if self.absolute or is_remote(file):
            return file
        try:
            return Path(os.path.relpath(file, self.folder)).as_posix()
        except ValueError as error:  # Windows, another drive
            raise OutputError(
                str(self.folder),
                f"no relative path leads to {file}",
                "Give paths_in_manifest=absolute.",
            ) from error

    def cells(self, row: Row) -> dict[str, str]:
        """Return all cells of a row as a table contains them."""
        cells = dict(row.values)
        for column in FILE_COLUMNS:
            name = row.location(column)
            cells[column] = self.path(name) if name else ""
        for kind in ("exclude", "merge"):
            parts = parse_regions(row[kind], row.root)
            cells[kind] = format_regions(p if is_keyword(p) else self.path(p) for p in parts)
        return cells
