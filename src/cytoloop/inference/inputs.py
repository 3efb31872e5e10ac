"""What is to be predicted: rows from a folder, glob, file or CSV, each with a name of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from cytoloop.errors import ImageError, ManifestError
from cytoloop.images import list_images, read_header, safe_name, stem
from cytoloop.manifest import Row, read_manifest
from cytoloop.remote import fetch_all, is_remote, plain_path


def list_inputs(source: str | Path) -> list[Row]:
    """Return a row for each image to predict, with a unique id and ``name`` (of its files).

    A file with several scenes or time points becomes a row for each of them.

    Parameters
    ----------
    source : str or Path
        A folder, a glob, an image file or its URL, or a CSV with a ``raw`` column.

    Raises
    ------
    ImageError, ManifestError
        Nothing is there, or the CSV is faulty.
    """
    if str(source).lower().endswith(".csv"):
        rows = [row for row in read_manifest(source) if row["status"] != "reject"]
        if not rows:
            raise ManifestError(str(source), "has no rows (or only rejected ones)", "Add images.")
    elif is_remote(source):
        rows = [Row({"raw": str(source)}, number=1)]
    else:
        files = [path.absolute() for path in list_images(source)]
        rows = [Row({"raw": str(path)}, path.parent, n) for n, path in enumerate(files, 1)]
    fetch_all(row.named("raw") for row in rows)
    rows = [one for row in rows for one in _scenes_and_times(row)]
    for row, name in zip(rows, unique_names(rows), strict=True):
        row.values["name"] = name
    # an id that is given to two rows becomes their names, which may be the id of a third
    while twice := _repeated(rows):
        for row in twice:
            row.values["id"] = row["name"]
    return rows


def _repeated(rows: list[Row]) -> list[Row]:
    """Return the rows whose id is another's as well."""
    counts = Counter(row.id for row in rows)
    return [row for row in rows if counts[row.id] > 1]


def _scenes_and_times(row: Row) -> list[Row]:
    """Return a row for each scene and time point of a file, unless the row names one."""
    try:
        header = read_header(row.file("raw") or "", row["scene"] or None)
    except ImageError:
        return [row]  # its turn comes, and its row will tell why it failed
    scenes = [row["scene"]] if row["scene"] or len(header.scenes) < 2 else list(header.scenes)
    several = not row["time"] and header.shape[0] > 1
    times = [str(t) for t in range(header.shape[0])] if several else [row["time"]]
    if len(scenes) * len(times) == 1:
        return [row]
    rows = []
    for scene in scenes:
        for time in times:
            name = row.id + (f"_{scene}" if len(scenes) > 1 else "")
            name += f"_t{time}" if several else ""
            rows.append(Row({**row.values, "id": name, "scene": scene, "time": time}, row.root))
    return rows


def unique_names(rows: list[Row]) -> list[str]:
    """Return a name for each row that can be a file name and is no other row's.

    Images of the same name in different folders get their folder's name in front, the rest a
    number behind. File systems that ignore case are thought of.
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
                folder = Path(plain_path(row.named("raw"))).parent.name
                names[i] = safe_name(f"{folder}__{stem(row['raw'])}")
            else:
                names[i] = f"{names[i]}-{seen[names[i].lower()]}"
    taken: set[str] = set()
    for i, name in enumerate(names):  # a number may have made the name of another row
        for number in itertools.count(1):
            names[i] = name if number == 1 else f"{name}-{number}"
            if names[i].lower() not in taken:
                break
        taken.add(names[i].lower())
    return names
