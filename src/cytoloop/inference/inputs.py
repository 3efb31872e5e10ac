"""What is to be predicted: rows from a folder, glob, file or CSV, each with a name of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.images import list_images, stem
from cytoloop.manifest import Row, read_manifest


def list_inputs(source: str | Path) -> list[Row]:
    """Return a row for each image to predict, with a unique id.

    Parameters
    ----------
    source : str or Path
        A folder, a glob, an image file, or a CSV with a ``raw`` column.

    Raises
    ------
    ImageError, ManifestError
        Nothing is there, or the CSV is faulty.
    """
    if str(source).lower().endswith(".csv"):
        rows = [row for row in read_manifest(source) if row["status"] != "reject"]
        if not rows:
            raise ManifestError(str(source), "has no rows (or only rejected ones)", "Add images.")
    else:
        files = [path.absolute() for path in list_images(source)]
        rows = [Row({"raw": str(path)}, path.parent, n) for n, path in enumerate(files, 1)]
    for row, name in zip(rows, unique_names(rows), strict=True):
        row.values["id"] = name
    return rows


def unique_names(rows: list[Row]) -> list[str]:
    """Return a name for each row that can be a file name and is no other row's.

    Images of the same name in different folders get their folder's name in front, the rest a
    number behind. File systems that ignore case are thought of.
    """
    names = [_safe(row.id) for row in rows]
    for attempt in ("folder", "number"):
        counts = Counter(name.lower() for name in names)
        seen: Counter[str] = Counter()
        for i, row in enumerate(rows):
            if counts[names[i].lower()] == 1:
                continue
            seen[names[i].lower()] += 1
            if attempt == "folder":
                folder = (row.file("raw") or Path()).parent.name
                names[i] = _safe(f"{folder}__{stem(row['raw'])}")
            else:
                names[i] = f"{names[i]}-{seen[names[i].lower()]}"
    return names


def _safe(name: str) -> str:
    """Replace what no file name should hold; nothing leads out of the folder."""
    kept = "".join(c if c.isalnum() or c in "-_.+= " else "_" for c in name).strip(" .")
    return kept or "image"
