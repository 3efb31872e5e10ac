"""CytoDL format: a folder on which CytoDL 0.6.2 trains with `im2im/segmentation_plugin`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cytoloop.curation.exchange.datasets.cytodl_rows import MIN_SIDE, ExportRow, prepare_rows
from cytoloop.curation.exchange.recorded_folder import (
    ExportResult,
    StagingFolder,
    list_files,
    replace_folder,
    was_written_by,
)
from cytoloop.curation.splits.names import SPLITS
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import CYTODL_COLUMNS, Row, format_spacing, read_dataset, write_manifest
from cytoloop.truth.regions import (
    polygons_without_holes,
    read_polygons,
    read_region,
    write_polygons_npy,
)
from cytoloop.truth.targets import read_raw, read_segmentation, read_target, row_file

_NAME = "cytodl"
_CHANNELS = {"raw": 0, "seg1": 0, "seg2": 0}
_LARGEST_PATCH = (16, 64, 64)
_README = """\
A data set for CytoDL 0.6.2, written by CytoLoop. {counts}.

Train (on a CPU; with a GPU, give trainer.accelerator=gpu):

{command}

- PROJECT_ROOT must be set where CytoDL is installed as a package.
- data._aux.patch_shape fits the smallest image; each side must be a multiple of 4.
- data.batch_size=1: CytoDL's default searches for the largest batch that does not fail, which
  fills the memory on a CPU.
- Leave trainer.precision at 16 (bfloat16 on a CPU): CytoDL loads targets in half precision and
  fails with 32.
- data.num_workers=0 works everywhere; more workers load faster.
- model._aux.filters sets the size of the network: [8,16,32], [16,32,64] or [32,64,128].
- CytoDL's test losses need masks of 0 and 1; labels above 1 distort them. `cytoloop evaluate`
  scores labels correctly.

The tables contain absolute paths: export again after moving the images or this folder. CytoDL
ignores the columns after its own six. CytoLoop reads them: `cytoloop curate raw=FOLDER`.
{left_out}"""


def is_project(path: Path) -> bool:
    """Return whether a path is a folder that `write` made."""
    return was_written_by(path, _NAME)


def read(folder: Path) -> list[Row]:
    """Return the rows of the tables of a folder, with ``id`` and ``split``.

    Raises
    ------
    ManifestError
        Missing or faulty tables.
    """
    return [row for part in read_dataset(folder).values() for row in part]


def write(folder: str | Path, rows: Sequence[Row], on_problem: str = "refuse") -> ExportResult:
    """Write ``train.csv``, ``valid.csv``, ``test.csv`` and a README with the training command.

    Files that CytoDL can read stay where they are. The others are converted: a channel, scene or
    time point of several, and other formats, to OME-TIFF; regions to outlines. Merged labels are
    written where CytoDL would merge differently: in 2D images, with regions that differ between
    planes, and with another ``merge_rule`` than ``clip``. CytoDL then learns from the same
    voxels as CytoLoop.

    Parameters
    ----------
    folder : str or Path
        A new folder, an empty one, or an unchanged earlier export, which is replaced.
    rows : sequence of Row
        With ``split``; rejected ones are ignored.
    on_problem : str
        ``refuse``, or ``reject`` to leave out the rows that CytoDL cannot use: images of several
        channels without a choice, and excluded regions in 2D or that differ between planes.

    Raises
    ------
    ConfigError
        Unknown `on_problem`.
    ManifestError
        Rows that CytoDL cannot use, or no row for training or validation.
    OutputError
        The folder holds other files, or cannot be written.
    """
    items, left_out = prepare_rows(rows, on_problem)
    with replace_folder(folder, _NAME, rows) as staging:
        cells = [_all_cells(item, staging) for item in items]
        for split in SPLITS:
            part = [c for c in cells if c["split"] == split]
            write_manifest(staging.path / f"{split}.csv", part, tuple(cells[0]))
        text = _readme(items, left_out, staging)
        (staging.path / "README.txt").write_text(text, encoding="utf-8")
    return ExportResult(staging.final, list_files(staging.final), left_out)


def write_cells(
    item: ExportRow, staging: StagingFolder, channels: Mapping[str, int]
) -> dict[str, str]:
    """Write the converted files of a row, and return the row's cells.

    Parameters
    ----------
    item : ExportRow
    staging : StagingFolder
        Files are written to its folders ``images``, ``labels``, ``merging_masks`` and
        ``excluding_masks``.
    channels : mapping of str to int
        Channel that CytoDL reads of each image column, in all rows.

    Returns
    -------
    dict of str to str
        CytoDL's columns, with absolute paths.
    """
    row, axes = item.row, "ZYX"[-len(item.shape) :]
    cells = dict.fromkeys(CYTODL_COLUMNS, "") | {"base_image": row["base_image"] or "seg1"}

    def write_tiff(relative: str, data: np.ndarray) -> str:
        write_image(staging.path / relative, data, axes, item.spacing_um)
        return str(staging.final / relative)

    for column, number in item.channels.items():
        if number == channels[column]:
            cells[column] = str(row.file(column))
        elif column == "raw":
            cells[column] = write_tiff(f"images/{item.name}.ome.tif", _read_raw(row))
        elif item.merge != "written":
            labels = read_segmentation(row, column)
            cells[column] = write_tiff(f"labels/{item.name}_{column}.ome.tif", labels)
    if item.merge == "written":
        labels, _ = read_target(row)
        merged = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
        cells["seg1"] = write_tiff(f"labels/{item.name}_merged.ome.tif", merged)
        cells |= {"seg2": "", "base_image": "seg1"}
    regions = {"merge_mask": item.merge == "outline", "exclude_mask": item.excludes}
    for column, wanted in regions.items():
        if wanted:
            kind = "merging" if column == "merge_mask" else "excluding"
            relative = f"{kind}_masks/{kind}_mask_{item.name}.npy"
            outlines = _outlines(row_file(row, column), item.shape)
            write_polygons_npy(staging.path / relative, outlines)
            cells[column] = str(staging.final / relative)
    return cells


def _all_cells(item: ExportRow, staging: StagingFolder) -> dict[str, str]:
    """Return CytoDL's columns, and those that CytoLoop needs to read the same data."""
    row, cells = item.row, write_cells(item, staging, _CHANNELS)
    channels = {"channel_seg1": "0", "channel_seg2": "0" if cells["seg2"] else ""}
    ours = {"id": row.id, "split": item.split, "group": row["group"], "channel": "0", **channels}
    return {**cells, **ours, "spacing_um": format_spacing(item.spacing_um)}


def _readme(items: Sequence[ExportRow], left_out: Mapping[str, str], staging: StagingFolder) -> str:
    counts = ", ".join(f"{sum(i.split == split for i in items)} {split}" for split in SPLITS)
    reasons = "".join(f"- {name}: {reason}\n" for name, reason in left_out.items())
    if reasons:
        reasons = f"\nLeft out, because CytoDL cannot use them:\n{reasons}"
    return _README.format(counts=counts, command=_command(items, staging.final), left_out=reasons)


def _command(items: Sequence[ExportRow], folder: Path) -> str:
    """Return the training command for a POSIX shell."""
    shapes = [item.shape for item in items]
    smallest = [min(sizes) for sizes in zip(*shapes, strict=True)]
    largest = _LARGEST_PATCH[-len(smallest) :]
    patch = [
        min(size, most) // MIN_SIDE * MIN_SIDE for size, most in zip(smallest, largest, strict=True)
    ]
    output = _quote(f"{folder}-training")
    overrides = (
        "experiment=im2im/segmentation_plugin",
        f"data.path={_quote(str(folder))}",
        f"paths.output_dir={output}",
        f"hydra.run.dir={output}",
        f"spatial_dims={len(patch)}",
        "input_channel=0",
        "raw_im_channels=1",
        f"data._aux.patch_shape={patch}".replace(" ", ""),
        "data.batch_size=1",
        "data.num_workers=0",
        "model._aux.filters=[16,32,64]",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=100",
    )
    lines = ["PROJECT_ROOT=. python -m cyto_dl.train", *map(shlex.quote, overrides)]
    return " \\\n  ".join(lines)


def _quote(value: str) -> str:
    """Return a path quoted for Hydra's override grammar."""
    plain = re.fullmatch(r"[\w/.-]+", value)
    return value if plain else '"' + value.replace('"', '\\"') + '"'


def _read_raw(row: Row) -> np.ndarray:
    """Return the chosen channel of a row's raw image, ([Z,] Y, X)."""
    return read_raw(row).data[0]


def _outlines(path: Path, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the outlines of a region that is the same in all planes.

    The polygons of a ``.npy`` file have CytoDL's form and are returned unchanged.
    """
    if path.suffix.lower() == ".npy":
        return [polygon.exterior for polygon in read_polygons(path)]
    return polygons_without_holes(read_region(path, shape)[0])
