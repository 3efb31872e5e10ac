"""Segmenter ML: an experiment folder of the napari plugin, read and written.

Only its tables, masks and channel choice are read; nothing that it holds is run.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from cytoloop.curation.exchange.datasets.cytodl import write_cells
from cytoloop.curation.exchange.datasets.cytodl_rows import make_plans
from cytoloop.curation.exchange.output_folder import Export, list_files, replace_folder
from cytoloop.curation.splits.assign import SPLITS
from cytoloop.errors import ManifestError
from cytoloop.io.names import stem
from cytoloop.manifest import CYTODL_COLUMNS, Row, read_manifest, write_manifest

log = logging.getLogger(__name__)

CHANNELS = "selected_channels.json"
_TABLES = {"train": "train", "val": "valid", "test": "test"}
_MASK_FOLDERS = {"merge_mask": "merging_masks", "exclude_mask": "excluding_masks"}
_FEWEST = 4
"""Images that the plugin wants before it trains."""


def is_experiment(folder: str | Path) -> bool:
    """Tell whether a folder is an experiment of the plugin, with curated images."""
    data = Path(folder).expanduser() / "data"
    return (data / "train.csv").is_file() and any(
        (data / f"{name}.csv").is_file() for name in ("val", "test")
    )


def read_experiment(folder: str | Path) -> list[Row]:
    """Read the curated images of an experiment.

    The plugin writes the same images into ``val.csv`` and ``test.csv``. An image in both chose
    the checkpoint, so it is of split ``valid``, and a warning says so.

    Parameters
    ----------
    folder : str or Path
        The experiment. It, and the images with it, may have been moved: masks are then found
        in its mask folders, images below it or beside it.

    Returns
    -------
    list of Row
        CytoDL's columns with absolute paths, ``id`` (the raw file's name, with those of its
        folders where it is not unique), ``split``, ``channel``, ``channel_seg1``,
        ``channel_seg2``.

    Raises
    ------
    ManifestError
        No experiment, faulty tables or channels, or an image in two splits; all of it at once.
    """
    folder = Path(folder).expanduser().resolve()
    if not is_experiment(folder):
        raise ManifestError(
            str(folder),
            "is no experiment of Segmenter ML: data/train.csv with data/val.csv or "
            "data/test.csv is missing",
            "Name the folder of one experiment, and curate it in the plugin first.",
        )
    problems: list[str] = []
    channels = _read_channels(folder / "data" / CHANNELS, problems)
    found: dict[str, tuple[str, Row]] = {}
    both = []
    for name, split in _TABLES.items():
        for row in _read_table(folder, name, problems):
            table, earlier = found.setdefault(row["raw"], (name, row))
            where = f"{name}.csv {row.where('raw')}"
            if earlier is row:
                row.values["split"] = split
            elif (table, name) != ("val", "test"):
                problems.append(f"{where}: is row {earlier.number} of {table}.csv too")
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
            "are taken as valid and none of them as test",
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


def export_segmenter_ml(
    rows: Sequence[Row], folder: str | Path, on_problem: str = "refuse"
) -> Export:
    """Write an experiment folder that the plugin can train on.

    Images and segmentations stay where they are, and the plugin is told the channel that all
    rows share; what it cannot be told is written as files, see `make_plans`. Without a row of
    split ``test``, ``test.csv`` repeats the validation rows, as the plugin has it: CytoDL tests
    after training, and needs one.

    Parameters
    ----------
    rows : sequence of Row
        With ``split``; rejected ones are passed over.
    folder : str or Path
        The experiment: a folder of this name in the plugin's home.
    on_problem : str
        ``refuse``, or ``reject`` to leave out the rows that the plugin cannot use.

    Returns
    -------
    Export

    Raises
    ------
    ManifestError
        Rows that the plugin cannot use, or no row for training or validation.
    OutputError
        The folder holds something else, or cannot be written.
    """
    plans, left_out = make_plans(rows, on_problem)
    channels = {
        column: _shared_channel([p.channels[column] for p in plans if column in p.channels])
        for column in ("raw", "seg1", "seg2")
    }
    if any(plan.merge == "written" for plan in plans):
        channels["seg1"] = 0  # where the merged labels are written, in files of one channel
    if len(plans) < _FEWEST:
        log.warning("the plugin trains on %d images or more; these are %d", _FEWEST, len(plans))
    with replace_folder(folder, "segmenter_ml", rows) as stage:
        cells = [(p.split, write_cells(p, stage, channels)) for p in plans]
        parts = {split: [c for s, c in cells if s == split] for split in SPLITS}
        parts["test"] = parts["test"] or parts["valid"]
        for name, split in _TABLES.items():
            numbered = [{"": i, **_only_cytodl(c)} for i, c in enumerate(parts[split])]
            write_manifest(stage.path / "data" / f"{name}.csv", numbered, ("", *CYTODL_COLUMNS))
        used = {c: channels[c] if any(cell[c] for _, cell in cells) else None for c in channels}
        (stage.path / "data" / CHANNELS).write_text(json.dumps(used), encoding="utf-8")
    return Export(stage.final, list_files(stage.final), left_out)


def _only_cytodl(cells: dict[str, str]) -> dict[str, str]:
    return {column: cells[column] for column in CYTODL_COLUMNS}


def _shared_channel(numbers: Sequence[int | None]) -> int:
    """Return the channel that all files of a column can be read at; 0 makes copies of some."""
    distinct = set(numbers)
    only = distinct.pop() if len(distinct) == 1 else None
    return only or 0


def _read_channels(path: Path, problems: list[str]) -> dict[str, str]:
    """Return the cell text of the channel of each image column; "" where none was chosen."""
    chosen: object = {}
    if path.is_file():
        try:
            with path.open(encoding="utf-8") as file:
                chosen = json.loads(file.read(1 << 16))  # it has three numbers
        except (ValueError, RecursionError) as error:
            problems.append(f"{path.name}: is no JSON: {error}")
    if not isinstance(chosen, dict):
        problems.append(f"{path.name}: expected channels by column, {{'raw': 0, ...}}")
        chosen = {}
    cells = {}
    for column in ("raw", "seg1", "seg2"):
        number = chosen.get(column)
        if number is not None and (type(number) is not int or number < 0):
            problems.append(
                f"{path.name}: {column}: {number!r:.40} is no channel; expected 0, 1 ..."
            )
        cells[column] = "" if number is None else str(number)
    return cells


def _read_table(folder: Path, name: str, problems: list[str]) -> list[Row]:
    """Return the rows of one of the tables, with the paths of today."""
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
    """Return where a file is today; what is nowhere is kept, for the checks to report.

    Parameters
    ----------
    text : str
        The cell: an absolute path of the machine that the experiment was made on.
    folder : Path
        The experiment.
    masks : str, optional
        Its folder of masks, for a cell that names one.
    """
    if not text:
        return ""
    written = Path(os.path.abspath(folder / "data" / Path(text).expanduser()))
    if written.exists():
        return str(written)
    foreign = PureWindowsPath(text)  # takes both kinds of slashes
    if masks is not None:
        candidates = [folder / masks / foreign.name]
    else:
        parts = foreign.parts[1:] if foreign.anchor else foreign.parts
        # of an absolute path, a folder at least must agree: raw and seg1 may share file names
        tails = [parts[n:] for n in range(len(parts) - 1)] if foreign.anchor else [parts]
        candidates = [root.joinpath(*t) for t in tails for root in (folder, folder.parent)]
    for candidate in candidates:
        if candidate.exists():
            return str(Path(os.path.abspath(candidate)))
    return text if foreign.anchor else str(written)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Return the stem of each path, with its folders' names before it where two are equal."""
    siblings = Counter((path.parent, stem(path)) for path in paths)
    names = own = [  # a.tif and a.czi of one folder are told apart by their suffix
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
