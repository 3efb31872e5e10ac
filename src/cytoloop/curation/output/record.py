"""The record of a data set, ``dataset.json``: settings, hashes, and what the checks found."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cytoloop.curation.output.paths import TablePaths
from cytoloop.curation.output.result import CurationResult
from cytoloop.curation.settings import CurationSettings
from cytoloop.manifest import FILE_COLUMNS

_SCHEMA = 2
_TOOLS = ("cytoloop", "numpy", "tifffile", "bioio")


def dataset_record(
    result: CurationResult,
    cells: Iterable[Mapping[str, str]],
    settings: CurationSettings,
    paths: TablePaths,
) -> dict[str, Any]:
    """Return the record of a data set; without time and host name, so that it is reproducible.

    Parameters
    ----------
    result : CurationResult
    cells : iterable of mappings
        The rows as ``dataset.csv`` contains them.
    settings : CurationSettings
    paths : TablePaths
    """
    files: dict[str, str] = {}
    images: dict[str, dict[str, Any]] = {}
    for row in cells:
        check = result.checks.get(row["id"])
        if check is None:
            continue
        files |= {row[column]: digest for column, digest in check.sha256.items() if row[column]}
        files |= {paths.path(file): digest for file, digest in check.region_sha256.items()}
        images[row["id"]] = {
            "shape": check.shape,
            "spacing_um": check.spacing_um,
            "objects": check.objects,
            "foreground": round(check.foreground, 6),
        }
    return {
        "schema": _SCHEMA,
        "settings": settings.to_record(),
        "counts": result.counts,
        "files": files,
        "images": images,
        "materialized": {
            row_id: {
                column: paths.path(text) if column in FILE_COLUMNS and text else text
                for column, text in merged.items()
            }
            for row_id, merged in result.made_from.items()
        },
        "tools": {"python": platform.python_version(), **{name: _version(name) for name in _TOOLS}},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
