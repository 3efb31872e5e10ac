"""The images to predict: one row each, from a folder, glob, file, URL or CSV."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.io.listing import list_images
from cytoloop.io.names import path_in_url, safe_name, stem
from cytoloop.io.readers.formats import IMAGE_SUFFIXES
from cytoloop.io.remote import fetch_all
from cytoloop.manifest import (
    PLANE_WORDS,
    Row,
    expand_row,
    find_files,
    is_table,
    read_manifest,
    read_table,
    table_in,
)
from cytoloop.urls import is_remote

log = logging.getLogger(__name__)

_IMAGE_COLUMNS = ("image", "imagepath", "imagefile", "path", "filepath", "file", "filename")
"""Names of image columns, lower case without punctuation, in order of preference."""


def list_inputs(source: str | Path, choices: Mapping[str, str] | None = None) -> list[Row]:
    """Return a row for each image to predict, with a unique id and a unique ``name`` (for files).

    A file with several scenes or time points becomes a row for each of them.

    Parameters
    ----------
    source : str or Path
        A folder, a glob, an image file or its URL, or a CSV: a manifest, or any table with a
        column of images.
    choices : mapping, optional
        Values of empty cells: ``scene``, ``time`` (also ``all``) and ``axes``.

    Raises
    ------
    ImageError, ManifestError
        There is no image, or the CSV is faulty.
    """
    source = table_in(source)
    if is_table(source):
        rows = _rows_of_csv(source)
    elif is_remote(source):
        rows = [Row({"raw": str(source)}, number=1)]
    else:
        files = [path.absolute() for path in list_images(source)]
        rows = [Row({"raw": str(path)}, path.parent, n) for n, path in enumerate(files, 1)]
    fetch_all(row.location("raw") for row in rows)
    for row in rows:
        row.values |= {name: row[name] or text for name, text in (choices or {}).items()}
        if row["plane"] in PLANE_WORDS:  # a stack has one result
            row.values["plane"] = ""
    rows = [one for row in rows for one in expand_row(row)]
    for row, name in zip(rows, unique_names(rows), strict=True):
        row.values["name"] = name
    # rows that share an id get their names as ids, which may repeat the id of a third row
    while repeated := _rows_with_repeated_id(rows):
        for row in repeated:
            row.values["id"] = row["name"]
    return rows


def _rows_of_csv(source: str | Path) -> list[Row]:
    """Return the rows of a manifest that are not rejected, or the images of another table.

    A table without a column ``raw`` gives its images only: its ``time`` or ``channel`` may mean
    something else.
    """
    path, columns, records = read_table(source)
    name = None if "raw" in columns else _image_column(columns, records)
    if name is None:
        rows = [row for row in read_manifest(path) if row["status"] != "reject"]
    else:
        log.info("%s: the images are those of column %r", path, name)
        empty = [
            f"row {n}, column {name!r} is empty" for n, r in enumerate(records, 1) if not r[name]
        ]
        if empty:
            raise ManifestError(str(path), empty, "Fill these cells or remove the rows.")
        root = path.parent.resolve()
        rows = [Row({"raw": record[name]}, root, n) for n, record in enumerate(records, 1)]
        find_files(rows, path)
    if not rows:
        raise ManifestError(str(path), "has no rows (or only rejected ones)", "Add images.")
    return rows


def _image_column(columns: list[str], records: list[dict[str, str]]) -> str | None:
    """Return the column of a table that names images: by its name, or by the cells' endings."""
    plain = {re.sub(r"[\W_]+", "", name.lower()): name for name in columns}
    for known in _IMAGE_COLUMNS:
        if known in plain:
            return plain[known]
    of_images = [
        name
        for name in columns
        if records and all(path_in_url(r[name]).lower().endswith(IMAGE_SUFFIXES) for r in records)
    ]
    return of_images[0] if len(of_images) == 1 else None


def _rows_with_repeated_id(rows: list[Row]) -> list[Row]:
    counts = Counter(row.id for row in rows)
    return [row for row in rows if counts[row.id] > 1]


def unique_names(rows: list[Row]) -> list[str]:
    """Return a unique name for each row that is safe as a file name.

    Images of the same name in different folders get their folder's name as a prefix, others a
    number as a suffix. Names that differ only in case count as the same.
    """
    names = [safe_name(row.id) for row in rows]
    for attempt in ("folder", "number"):
        counts = Counter(name.lower() for name in names)
        seen: Counter[str] = Counter()
        for i, row in enumerate(rows):
            if counts[names[i].lower()] == 1:
                continue
            seen[names[i].lower()] += 1
            if attempt == "folder":
                folder = Path(path_in_url(row.location("raw"))).parent.name
                names[i] = safe_name(f"{folder}__{stem(row['raw'])}")
            else:
                names[i] = f"{names[i]}-{seen[names[i].lower()]}"
    taken: set[str] = set()
    for i, name in enumerate(names):  # a suffix may have made the name of another row
        for number in itertools.count(1):
            names[i] = name if number == 1 else f"{name}-{number}"
            if names[i].lower() not in taken:
                break
        taken.add(names[i].lower())
    return names
