"""CytoDL: a folder on which plain CytoDL 0.6.2 trains, with its `im2im/segmentation_plugin`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cytoloop.curation.exchange.datasets.cytodl_rows import SMALLEST, Plan, make_plans
from cytoloop.curation.exchange.output_folder import Export, Stage, list_files, replace_folder
from cytoloop.curation.splits.assign import SPLITS
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import CYTODL_COLUMNS, Row, format_spacing, write_manifest
from cytoloop.truth.regions import read_polygons, read_region, simple_polygons, write_polygons_npy
from cytoloop.truth.targets import read_segmentation, read_target, row_file

_CHANNELS = {"raw": 0, "seg1": 0, "seg2": 0}
_LARGEST_PATCH = (16, 64, 64)
_README = """\
A data set for CytoDL 0.6.2, written by CytoLoop. {counts}.

Train (on a CPU; with a GPU, give trainer.accelerator=gpu):

{command}

- PROJECT_ROOT must be set where CytoDL is installed as a package.
- data._aux.patch_shape fits the smallest image; each side must be a multiple of 4.
- data.batch_size=1: CytoDL's own default looks for the largest batch that does not fail, which on
  a CPU means to fill the memory.
- Leave trainer.precision at 16 (bfloat16 on a CPU): CytoDL loads targets in half precision, and
  fails with 32.
- data.num_workers=0 works everywhere; more of them load faster.
- model._aux.filters is the size of the net: [8,16,32], [16,32,64] or [32,64,128].
- Test losses of CytoDL need masks of 0 and 1; labels above 1 distort them. `cytoloop evaluate`
  scores them rightly.

The tables name files by absolute paths: export again after moving the images or this folder. The
columns beyond CytoDL's six are for CytoLoop, which reads this folder too; CytoDL passes over them.
{left_out}"""


def export_cytodl(rows: Sequence[Row], folder: str | Path, on_problem: str = "refuse") -> Export:
    """Write ``train.csv``, ``valid.csv``, ``test.csv`` and a README with the command to train.

    Images, segmentations and regions stay where they are wherever CytoDL can read them there.
    What it cannot be told is written beside the tables: one channel of several, scenes, time
    points and other formats as OME-TIFF, regions as outlines, and merged labels where its own
    merging is not what the row says (2D images, regions that differ between planes, another
    ``merge_rule`` than ``clip``). CytoDL then learns the same from the same voxels as CytoLoop.

    Parameters
    ----------
    rows : sequence of Row
        With ``split``; rejected ones are passed over.
    folder : str or Path
        New, empty, or an earlier export, which is replaced.
    on_problem : str
        ``refuse``, or ``reject`` to leave out the rows that CytoDL cannot use (several channels,
        excluded regions in 2D or that differ between planes).

    Returns
    -------
    Export

    Raises
    ------
    ConfigError
        Another `on_problem`.
    ManifestError
        Rows that CytoDL cannot use, or no row for training or validation.
    OutputError
        The folder holds something else, or cannot be written.
    """
    plans, left_out = make_plans(rows, on_problem)
    with replace_folder(folder, "cytodl", rows) as stage:
        cells = [_cells(plan, stage) for plan in plans]
        for split in SPLITS:
            part = [c for c in cells if c["split"] == split]
            write_manifest(stage.path / f"{split}.csv", part, tuple(cells[0]))
        (stage.path / "README.txt").write_text(_readme(plans, left_out, stage), encoding="utf-8")
    return Export(stage.final, list_files(stage.final), left_out)


def write_cells(plan: Plan, stage: Stage, channels: Mapping[str, int]) -> dict[str, str]:
    """Write the files that a row needs beside its own, and return its cells.

    Parameters
    ----------
    plan : Plan
    stage : Stage
        Files go to its folders ``images``, ``labels``, ``merging_masks``, ``excluding_masks``.
    channels : mapping of str to int
        Channel at which CytoDL reads each image column, in all rows.

    Returns
    -------
    dict of str to str
        CytoDL's columns, with absolute paths.
    """
    row, axes = plan.row, "ZYX"[-len(plan.shape) :]
    cells = dict.fromkeys(CYTODL_COLUMNS, "") | {"base_image": row["base_image"] or "seg1"}

    def written(relative: str, data: np.ndarray) -> str:
        write_image(stage.path / relative, data, axes, plan.spacing_um)
        return str(stage.final / relative)

    for column, number in plan.channels.items():
        if number == channels[column]:
            cells[column] = str(row.file(column))
        elif column == "raw":
            cells[column] = written(f"images/{plan.name}.ome.tif", _read_raw(row))
        elif plan.merge != "written":
            labels = read_segmentation(row, column)
            cells[column] = written(f"labels/{plan.name}_{column}.ome.tif", labels)
    if plan.merge == "written":
        labels, _ = read_target(row)
        merged = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
        cells["seg1"] = written(f"labels/{plan.name}_merged.ome.tif", merged)
        cells |= {"seg2": "", "base_image": "seg1"}
    regions = {"merge_mask": plan.merge == "outline", "exclude_mask": plan.excludes}
    for column, wanted in regions.items():
        if wanted:
            kind = "merging" if column == "merge_mask" else "excluding"
            relative = f"{kind}_masks/{kind}_mask_{plan.name}.npy"
            outlines = _outlines(row_file(row, column), plan.shape)
            write_polygons_npy(stage.path / relative, outlines)
            cells[column] = str(stage.final / relative)
    return cells


def _cells(plan: Plan, stage: Stage) -> dict[str, str]:
    """Return CytoDL's columns and those of ours by which CytoLoop reads the same."""
    row, cells = plan.row, write_cells(plan, stage, _CHANNELS)
    channels = {"channel_seg1": "0", "channel_seg2": "0" if cells["seg2"] else ""}
    ours = {"id": row.id, "split": plan.split, "group": row["group"], "channel": "0", **channels}
    return {**cells, **ours, "spacing_um": format_spacing(plan.spacing_um)}


def _readme(plans: Sequence[Plan], left_out: Mapping[str, str], stage: Stage) -> str:
    counts = ", ".join(f"{sum(p.split == split for p in plans)} {split}" for split in SPLITS)
    reasons = "".join(f"- {name}: {reason}\n" for name, reason in left_out.items())
    if reasons:
        reasons = f"\nLeft out, because CytoDL cannot use them:\n{reasons}"
    return _README.format(counts=counts, command=_command(plans, stage.final), left_out=reasons)


def _command(plans: Sequence[Plan], folder: Path) -> str:
    """Return the command that trains, for a POSIX shell."""
    shapes = [plan.shape for plan in plans]
    smallest = [min(sizes) for sizes in zip(*shapes, strict=True)]
    largest = _LARGEST_PATCH[-len(smallest) :]
    patch = [
        min(size, most) // SMALLEST * SMALLEST for size, most in zip(smallest, largest, strict=True)
    ]
    output = _quoted(f"{folder}-training")
    overrides = (
        "experiment=im2im/segmentation_plugin",
        f"data.path={_quoted(str(folder))}",
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


def _quoted(value: str) -> str:
    """Return a path as Hydra's command line takes it."""
    plain = re.fullmatch(r"[\w/.-]+", value)
    return value if plain else '"' + value.replace('"', '\\"') + '"'


def _read_raw(row: Row) -> np.ndarray:
    """Return the raw picture of a row, ([Z,] Y, X)."""
    channel, scene = row["channel"] or None, row["scene"] or None
    return read_image(row_file(row, "raw"), channel, scene, row.time).data[0]


def _outlines(path: Path, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the outlines of a region that is the same in all planes: as drawn, if for CytoDL."""
    if path.suffix.lower() == ".npy":
        return [polygon.exterior for polygon in read_polygons(path)]
    return simple_polygons(read_region(path, shape)[0])
