"""Segmenter ML format: an experiment folder of the napari plugin.

Only its tables, masks and channel numbers are read. No code or config in it is run.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from cytoloop.curation.exchange.datasets.cytodl import write_cells
from cytoloop.curation.exchange.datasets.cytodl_rows import prepare_rows
from cytoloop.curation.exchange.recorded_folder import ExportResult, list_files, replace_folder
from cytoloop.curation.splits.names import SPLITS
from cytoloop.errors import ManifestError
from cytoloop.home import expand_home
from cytoloop.io.names import stem
from cytoloop.manifest import CYTODL_COLUMNS, Row, read_manifest, write_manifest

log = logging.getLogger(__name__)

_CHANNELS = "selected_channels.json"
_TABLES = {"train": "train", "val": "valid", "test": "test"}  # file name to split
_MASK_FOLDERS = {"merge_mask": "merging_masks", "exclude_mask": "excluding_masks"}
_MIN_IMAGES = 4
"""Images that the plugin requires before it trains."""


def is_project(path: str | Path) -> bool:
    """Return whether a path is an experiment of the plugin with curated images."""
    data = expand_home(path) / "data"
    return (data / "train.csv").is_file() and any(
        (data / f"{name}.csv").is_file() for name in ("val", "test")
    )


def read(folder: str | Path) -> list[Row]:
    """Return the curated images of an experiment.

    The plugin writes the same images into ``val.csv`` and ``test.csv``. Images in both tables
    chose the checkpoint, so they get the split ``valid``, with a warning.

    Parameters
    ----------
    folder : str or Path
        The experiment. If it was moved, masks are looked for in its mask folders, and images
        below it and beside it.

    Returns
    -------
    list of Row
        CytoDL's columns with absolute paths, ``id``, ``split``, ``channel``, ``channel_seg1`` and
        ``channel_seg2``. The id is the raw file's name, with folder names if it is not unique.

    Raises
    ------
    ManifestError
        Not an experiment, faulty tables or channels, or an image in two splits; all at once.
    """
    folder = expand_home(folder).resolve()
    if not is_project(folder):
        raise ManifestError(
            str(folder),
            "is not an experiment of Segmenter ML, expected data/train.csv with data/val.csv or "
            "data/test.csv",
            "Name the folder of one experiment, and curate it in the plugin first.",
        )
    problems: list[str] = []
    channels = _read_channels(folder / "data" / _CHANNELS, problems)
    found: dict[str, tuple[str, Row]] = {}  # raw file to table name and row
    both = []
    for name, split in _TABLES.items():
        for row in _read_table(folder, name, problems):
            table, earlier = found.setdefault(row["raw"], (name, row))
            where = f"{name}.csv {row.where('raw')}"
            if earlier is row:
                row.values["split"] = split
            elif (table, name) != ("val", "test"):
                problems.append(f"{where}: is also row {earlier.number} of {table}.csv")
            elif any(row[column] != earlier[column] for column in CYTODL_COLUMNS):
                problems.append(f"{where}: differs from row {earlier.number} of {table}.csv")
            else:
                both.append(row)
    if problems:
        raise ManifestError(
            str(folder), problems, "Correct these files, or save the curation in the plugin again."
        )
    if both:
        log.warning(
            "%s: %d images are in val.csv and in test.csv; they chose the checkpoint, so they "
            "get the split valid and none of them test",
            folder,
            len(both),
        )
    rows = [row for _, row in found.values()]
    for row, name in zip(rows, _unique_names([Path(row["raw"]) for row in rows]), strict=True):
        row.values["id"] = name
        for column, cell in (
            ("raw", "channel"),
            ("seg1", "channel_seg1"),
            ("seg2", "channel_seg2"),
        ):
            row.values[cell] = channels[column] if row[column] else ""
    return rows


def write(folder: str | Path, rows: Sequence[Row], on_problem: str = "refuse") -> ExportResult:
    """Write an experiment folder that the plugin can train on.

    Files that the plugin can read stay where they are; the others are converted, see
    `cytoloop.curation.exchange.datasets.cytodl.write`. If no row has the split ``test``,
    ``test.csv`` repeats the validation rows, because CytoDL tests after training.

    Parameters
    ----------
    folder : str or Path
        The experiment: a new folder, an empty one, or an unchanged earlier export. To open it in
        the plugin, it must be in the plugin's home folder.
    rows : sequence of Row
        With ``split``; rejected ones are ignored.
    on_problem : str
        ``refuse``, or ``reject`` to leave out the rows that the plugin cannot use.

    Raises
    ------
    ConfigError
        Unknown `on_problem`.
    ManifestError
        Rows that the plugin cannot use, or no row for training or validation.
    OutputError
        The folder holds other files, or cannot be written.
    """
    items, left_out = prepare_rows(rows, on_problem)
    channels = {
        column: _shared_channel([i.channels[column] for i in items if column in i.channels])
        for column in ("raw", "seg1", "seg2")
    }
    if any(item.merge == "written" for item in items):
        channels["seg1"] = 0  # files of merged labels have one channel
    if len(items) < _MIN_IMAGES:
        log.warning("the plugin needs %d images to train; these are %d", _MIN_IMAGES, len(items))
    with replace_folder(folder, "segmenter_ml", rows) as staging:
        cells = [(item.split, write_cells(item, staging, channels)) for item in items]
        parts = {split: [c for s, c in cells if s == split] for split in SPLITS}
        parts["test"] = parts["test"] or parts["valid"]
        for name, split in _TABLES.items():
            numbered = [
                {"": number, **{column: row[column] for column in CYTODL_COLUMNS}}
                for number, row in enumerate(parts[split])
            ]
            write_manifest(staging.path / "data" / f"{name}.csv", numbered, ("", *CYTODL_COLUMNS))
        used = {c: channels[c] if any(cell[c] for _, cell in cells) else None for c in channels}
        (staging.path / "data" / _CHANNELS).write_text(json.dumps(used), encoding="utf-8")
    return ExportResult(staging.final, list_files(staging.final), left_out)


def _shared_channel(numbers: Sequence[int | None]) -> int:
    """Return the channel that all files of a column have, else 0: some files are then copied."""
    distinct = set(numbers)
    only = distinct.pop() if len(distinct) == 1 else None
    return only or 0


def _read_channels(path: Path, problems: list[str]) -> dict[str, str]:
    """Return the channel of each image column as cell text, "" if none was chosen."""
    chosen: object = {}
    if path.is_file():
        try:
            with path.open(encoding="utf-8") as file:
                chosen = json.loads(file.read(1 << 16))  # usual files have three numbers
        except (ValueError, RecursionError) as error:
            problems.append(f"{path.name}: is not valid JSON: {error}")
    if not isinstance(chosen, dict):
        problems.append(f"{path.name}: expected channels by column, {{'raw': 0, ...}}")
        chosen = {}
    cells = {}
    for column in ("raw", "seg1", "seg2"):
        number = chosen.get(column)
        if number is not None and (type(number) is not int or number < 0):
            problems.append(f"{path.name}: {column}: channel {number!r:.40}, expected 0, 1 ...")
        cells[column] = "" if number is None else str(number)
    return cells


def _read_table(folder: Path, name: str, problems: list[str]) -> list[Row]:
    """Return the rows of a table, with the present paths of their files."""
    path = folder / "data" / f"{name}.csv"
    if not path.is_file():
        return []
    try:
        manifest = read_manifest(path, ("raw", "seg1"))
    except ManifestError as error:
        problems += [f"{path.name}: {problem}" for problem in error.problems]
        return []
    rows = []
    for row in manifest:
        base = row["base_image"] or "seg1"
        if base not in ("seg1", "seg2"):
            problems.append(
                f"{path.name} {row.where('base_image')}: {base!r}; expected seg1 or seg2"
            )
        values = {"base_image": base}
        for column in CYTODL_COLUMNS[:-1]:
            values[column] = _locate(row[column], folder, _MASK_FOLDERS.get(column))
        rows.append(Row(values, row.root, row.number))
    return rows


def _locate(text: str, folder: Path, masks: str | None) -> str:
    """Return the present path of a file. A path that is found nowhere is returned unchanged.

    Parameters
    ----------
    text : str
        The cell: usually an absolute path on the machine where the experiment was made.
    folder : Path
        The experiment.
    masks : str, optional
        Mask folder of the experiment, for columns that name masks.
    """
    if not text:
        return ""
    written = Path(os.path.abspath(folder / "data" / expand_home(text)))
    if written.exists():
        return str(written)
    recorded = PureWindowsPath(text)  # accepts both kinds of slashes
    if masks is not None:
        candidates = [folder / masks / recorded.name]
    else:
        parts = recorded.parts[1:] if recorded.anchor else recorded.parts
        # for an absolute path at least one folder name must match, because raw and seg1 may have
        # the same file names
        tails = [parts[n:] for n in range(len(parts) - 1)] if recorded.anchor else [parts]
        candidates = [root.joinpath(*t) for t in tails for root in (folder, folder.parent)]
    for candidate in candidates:
        if candidate.exists():
            return str(Path(os.path.abspath(candidate)))
    return text if recorded.anchor else str(written)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Return the stem of each path, with as many folder names before it as it needs."""
    siblings = Counter((path.parent, stem(path)) for path in paths)
    names = own = [  # a.tif and a.czi in one folder keep their suffix: a_tif, a_czi
        stem(path) if siblings[path.parent, stem(path)] == 1 else path.name.replace(".", "_")
        for path in paths
    ]
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        count = Counter(names)
        names = [
            name if count[name] == 1 else "_".join((*path.parts[1:-1][-depth:], base))
            for name, base, path in zip(names, own, paths, strict=True)
        ]
    return names
