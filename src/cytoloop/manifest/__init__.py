"""The manifest: the contract between the rooms.

A manifest is a CSV file. Its first six columns are CytoDL's, with CytoDL's meaning; ours
follow. None of ours begins with the name of one of CytoDL's: CytoDL picks its columns by
prefix, so a column `raw_channel` would be taken for `raw`. Paths are relative to the manifest
unless they are absolute; a cell may hold a URL instead (`cytoloop.io.remote`). Neither torch nor
pandas is imported here.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytoloop.errors import ManifestError
from cytoloop.io.atomic import replacing
from cytoloop.io.digest import file_hash
from cytoloop.io.names import stem
from cytoloop.io.remote import fetch
from cytoloop.redact import redact_url
from cytoloop.urls import is_remote, refusal_reason

CYTODL_COLUMNS = ("raw", "seg1", "seg2", "merge_mask", "exclude_mask", "base_image")
OWN_COLUMNS = (
    "id",
    "split",
    "group",
    "channel",
    "channel_seg1",
    "channel_seg2",
    "scene",
    "scene_seg1",
    "scene_seg2",
    "time",
    "time_seg1",
    "time_seg2",
    "spacing_um",
    "merge_rule",
    "exclude",
    "merge",
    "fold",
    "status",
    "reason",
    "flags",
    "curator",
    "sha256",
)
COLUMNS = CYTODL_COLUMNS + OWN_COLUMNS
FILE_COLUMNS = ("raw", "seg1", "seg2", "merge_mask", "exclude_mask")
SELECTION_COLUMNS = (
    *("base_image", "merge_rule", "spacing_um", "channel", "channel_seg1", "channel_seg2"),
    *("scene", "scene_seg1", "scene_seg2", "time", "time_seg1", "time_seg2"),
)
"""Columns that say what is taken from the files: with the files they make the row's picture."""

SPLIT_FILES = {
    "train": ("train.csv",),
    "valid": ("valid.csv", "val.csv", "validation.csv"),
    "test": ("test.csv",),
}


@dataclass
class Row:
    """One image with its segmentations and what was decided about it.

    Attributes
    ----------
    values : dict of str to str
        Column name to cell text; a missing column reads as "".
    root : Path
        Folder that relative paths start from.
    number : int
        Row number in the file, from 1 (the header is not counted).
    """

    values: dict[str, str]
    root: Path = field(default_factory=Path)
    number: int = 0

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    @property
    def id(self) -> str:
        """Name of the row, unique in its manifest; the raw file's name where no id is given."""
        return self["id"] or stem(self["raw"])

    def file(self, column: str) -> Path | None:
        """Return the absolute path in a file column, None where the cell is empty.

        Of a URL it is that of a local copy, which is fetched when it is first asked for.

        Raises
        ------
        ImageError
            What the URL names cannot be fetched.
        """
        text = self[column]
        if is_remote(text):
            return fetch(text)
        return absolute_path(text, self.root) if text else None

    def location(self, column: str) -> str:
        """Return the absolute path, or the URL, in a file column; nothing is fetched.

        "" where the cell is empty.
        """
        text = self[column]
        return absolute_location(text, self.root) if text else ""

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (Z, Y, X) in um as the manifest states it, None where it does not."""
        text = self["spacing_um"].replace(",", " ").replace(";", " ")
        if not text.strip():
            return None
        try:
            numbers = [float(part) for part in text.split()]
        except ValueError:
            numbers = []
        if len(numbers) == 2:
            numbers = [1.0, *numbers]
        if len(numbers) != 3 or not all(0 < n < float("inf") for n in numbers):
            raise ManifestError(
                self.where("spacing_um"),
                f"{self['spacing_um']!r} is no voxel size",
                "Expected three positive numbers in um, `z y x`.",
            )
        return (numbers[0], numbers[1], numbers[2])

    @property
    def time(self) -> int:
        """Time point of the raw file, from 0; 0 where none is named."""
        return self._time("time")

    def segmentation_time(self, column: str) -> int:
        """Time point of ``seg1`` or ``seg2`` where its file has several: its own, else raw's."""
        own = f"time_{column}"
        return self._time(own if self[own] else "time")

    def segmentation_scene(self, column: str) -> str | None:
        """Scene of ``seg1`` or ``seg2`` where its file has several: its own, else raw's."""
        return self[f"scene_{column}"] or self["scene"] or None

    def _time(self, column: str) -> int:
        text = self[column]
        if text and not text.isdigit():
            raise ManifestError(
                self.where(column), f"{text!r} is no time point", "Expected 0, 1, 2 ..."
            )
        return int(text or 0)

    def where(self, column: str) -> str:
        """Return the words that locate a cell in an error message."""
        return f"row {self.number} ({self.id}), column {column!r}"


@dataclass
class Manifest:
    """Rows of one CSV file.

    Attributes
    ----------
    path : Path
        The file they came from, or will go to.
    rows : list of Row
    """

    path: Path
    rows: list[Row]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def absolute_path(text: str, root: str | Path = "") -> Path:
    """Return the absolute path that a cell or a setting names, from a folder on.

    ``~`` alone stands for the home folder; ``~name`` is a file name like any other.

    Raises
    ------
    ManifestError
        A URL.
    """
    if is_remote(text):
        raise ManifestError(redact_url(text), "is a URL", "Expected a path on this machine.")
    path = Path(text).expanduser() if re.match(r"~([/\\]|$)", str(text)) else Path(text)
    return Path(os.path.abspath(Path(root) / path))


def absolute_location(text: str, root: str | Path = "") -> str:
    """Return the absolute path that a cell names, from a folder on; a URL as it is."""
    return text if is_remote(text) else str(absolute_path(text, root))


def format_spacing(spacing_um: Sequence[float] | None) -> str:
    """Return the cell text of a voxel size, ``"z y x"`` in um."""
    return " ".join(f"{size:g}" for size in spacing_um) if spacing_um else ""


def read_table(path: str | Path) -> tuple[Path, list[str], list[dict[str, str]]]:
    """Return the file, the columns and the cells of a CSV; spreadsheets part them by ; or tab too.

    Raises
    ------
    ManifestError
        Missing file, or no CSV.
    """
    if is_remote(path):
        raise ManifestError(
            redact_url(str(path)), "is a URL", "Download the CSV; its cells may hold URLs."
        )
    path = Path(path).expanduser()
    if not path.is_file():
        raise ManifestError(str(path), "no such manifest", "Make one with `cytoloop curate`.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = [name for name in (reader.fieldnames or []) if name]
            records = [
                {name: (record.get(name) or "").strip() for name in columns} for record in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            str(path), f"is no CSV file: {error}", "Expected UTF-8 text."
        ) from error
    return path, columns, records


def read_manifest(path: str | Path, required: Iterable[str] = ("raw",)) -> Manifest:
    """Read a manifest CSV.

    Parameters
    ----------
    path : str or Path
        The CSV file. CytoDL's and the Segmenter ML plugin's files are manifests too (their
        unnamed index column is dropped).
    required : iterable of str
        Columns that must be there and filled in every row.

    Raises
    ------
    ManifestError
        Missing file, missing columns, empty cells, duplicate ids, URLs that are not followed; all
        of them at once.
    """
    path, columns, records = read_table(path)
    required = tuple(required)
    missing = [name for name in required if name not in columns]
    if missing:
        raise ManifestError(
            str(path),
            f"has no column {', '.join(missing)} (found: {', '.join(columns) or 'none'})",
            "The first line must name the columns; see docs/manifest.md.",
        )
    root = path.parent.resolve()
    rows = [Row(record, root, number) for number, record in enumerate(records, start=1)]
    problems = [f"{row.where(name)} is empty" for row in rows for name in required if not row[name]]
    problems += _duplicate_ids(rows)
    problems += [
        f"{row.where(name)}: {redact_url(row[name])} {why}"
        for row in rows
        for name in FILE_COLUMNS
        if is_remote(row[name]) and (why := refusal_reason(row[name]))
    ]
    if problems:
        raise ManifestError(str(path), problems, "Mend these cells or remove the rows.")
    return Manifest(path, rows)


def read_dataset(path: str | Path, fold: int | None = None) -> dict[str, Manifest]:
    """Read a curated data set: split name to manifest.

    Parameters
    ----------
    path : str or Path
        A folder with ``train.csv`` (and ``valid.csv``, ``test.csv``), or one CSV file with a
        ``split`` column.
    fold : int, optional
        Take the rows of this fold for validation and those of the others for training, as the
        column ``fold`` has them; rows for testing stay so.

    Returns
    -------
    dict of str to Manifest
        Keys ``train``, ``valid``, ``test``; rejected rows are left out.

    Raises
    ------
    ManifestError
        No such folder, no training manifest, or a faulty one; no such fold.
    """
    path = Path(path).expanduser()
    if fold is not None and path.is_dir():
        path = path / "dataset.csv"
    if path.is_file():
        whole = read_manifest(path, ("raw", "seg1"))
        parts: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
        names = {name.split(".")[0]: split for split, n in SPLIT_FILES.items() for name in n}
        names |= {"training": "train", "testing": "test"}
        for row in whole:
            split = names.get(row["split"] or "train")
            if split is None:
                raise ManifestError(
                    f"{path}: {row.where('split')}",
                    f"{row['split']!r} is no split",
                    "Expected train, valid or test.",
                )
            parts[split].append(row)
        found = {split: Manifest(path, rows) for split, rows in parts.items()}
    elif path.is_dir():
        found = {}
        for split, files in SPLIT_FILES.items():
            present = [path / name for name in files if (path / name).is_file()]
            if len(present) > 1:
                raise ManifestError(
                    str(path),
                    f"holds {' and '.join(p.name for p in present)}: which one is meant?",
                    "Keep one of them.",
                )
            rows = read_manifest(present[0], ("raw", "seg1")).rows if present else []
            found[split] = Manifest(present[0] if present else path / files[0], rows)
    else:
        raise ManifestError(
            str(path), "no such data set", "Make one with `cytoloop curate ... output=DIR`."
        )
    for manifest in found.values():
        manifest.rows = [row for row in manifest if row["status"] != "reject"]
    if not len(found["train"]):
        raise ManifestError(
            str(path), "no training image (train.csv is missing or empty)", "Curate more images."
        )
    return found if fold is None else _of_fold(found, fold, path)


def _of_fold(dataset: dict[str, Manifest], fold: int, path: Path) -> dict[str, Manifest]:
    rows = [row for split in ("train", "valid") for row in dataset[split]]
    folds = sorted({int(row["fold"]) for row in rows if row["fold"].isdigit()})
    unfolded = [row.id for row in rows if not row["fold"].isdigit()]
    if fold not in folds or unfolded:
        told = f"its rows are in folds {', '.join(map(str, folds))}" if folds else "it has no folds"
        told += f"; {len(unfolded)} rows are in none" if folds and unfolded else ""
        raise ManifestError(str(path), f"fold {fold}: {told}", "Curate with split.folds=5.")
    parts = {
        "train": [row for row in rows if int(row["fold"]) != fold],
        "valid": [row for row in rows if int(row["fold"]) == fold],
    }
    return {**dataset, **{split: Manifest(path, part) for split, part in parts.items()}}


def write_manifest(
    path: str | Path,
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Write a CSV atomically: a crash leaves the old file or the new, never half.

    Parameters
    ----------
    path : str or Path
    rows : iterable of mappings
        Column name to value; None and missing become empty cells.
    columns : sequence of str
        Written in this order; columns found in `rows` beyond these follow, sorted.
    """
    rows = list(rows)
    extra = sorted({name for row in rows for name in row} - set(columns))
    names = [*columns, *extra]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in names])


def _cell(value: object) -> object:
    """Return what is written of a value; a bare carriage return would end the row."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return "" if value is None else value


def _duplicate_ids(rows: list[Row]) -> list[str]:
    seen: dict[str, int] = {}
    problems = []
    for row in rows:
        if row["id"] and row["id"] in seen:
            problems.append(f"row {row.number}: id {row['id']!r} is that of row {seen[row['id']]}")
        seen.setdefault(row["id"], row.number)
    return problems


def dataset_hash(manifests: Mapping[str, Manifest]) -> str:
    """Return a digest of a data set: its rows and the contents of every file they name."""
    digest = hashlib.sha256()
    for split in sorted(manifests):
        for row in manifests[split]:
            cells = {n: v for n, v in row.values.items() if n not in FILE_COLUMNS and v}
            digest.update(repr((split, row.id, sorted(cells.items()))).encode())
            for column in FILE_COLUMNS:
                file = row.file(column)
                if file is not None and file.exists():
                    digest.update(f"{column}={file_hash(file)};".encode())
    return digest.hexdigest()
