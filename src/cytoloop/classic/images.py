"""A workflow over many images: labels, predictions.csv and the sheets."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.classic.sheets import steps_sheet, sweep_sheet
from cytoloop.classic.workflow import Workflow
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.io.pixels import Pixels, open_pixels
from cytoloop.io.voxel_size import Spacing
from cytoloop.io.writers.png import write_png
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row, format_spacing, stated_axes, write_manifest

log = logging.getLogger(__name__)

TABLE = "predictions.csv"
_COLUMNS = (
    *("id", "raw", "labels", "group", "split", "channel", "scene", "time", "axes"),
    *("spacing_um", "objects", "seconds", "status", "reason", "model"),
)


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes
    ----------
    channel : str, int or None
        Name or number; None: the only one.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) where neither file nor table state one.
    """

    channel: Any = None
    spacing_um: Spacing | None = None

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Reading:
        """Return the settings in a config.

        Raises
        ------
        ConfigError
            The voxel size is none.
        """
        size = values["spacing_um"]
        if size is None:
            return cls(values["channel"])
        good = isinstance(size, list) and len(size) == 3
        if not good or not all(isinstance(v, (int, float)) and v > 0 for v in size):
            found = f"is {size}, expected [z,y,x] in um, above 0"
            raise ConfigError("spacing_um", found, "Give three sizes.")
        return cls(values["channel"], (float(size[0]), float(size[1]), float(size[2])))


@dataclass(frozen=True)
class OpenedImage:
    """An image in memory.

    Attributes
    ----------
    data : numpy.ndarray
        ([Z,] Y, X).
    spacing_um : tuple of float
        Voxel size of these axes; 1 where it is unknown, so that lengths are in pixels.
    stated_um : tuple of float or None
        Voxel size (Z, Y, X), if it is known.
    """

    data: np.ndarray
    spacing_um: tuple[float, ...]
    stated_um: Spacing | None


def open_row(row: Row, reading: Reading) -> OpenedImage:
    """Return the image of a row.

    Raises
    ------
    ImageError
        It cannot be read, or has several channels.
    """
    path = row.file("raw") or ""
    wanted = row["channel"] or reading.channel
    scene = row["scene"] or None
    pixels: Pixels = open_pixels(path, wanted, scene, row.time, axes=stated_axes(row))
    if len(pixels.channels) > 1:
        raise ImageError(
            str(path),
            f"has {len(pixels.channels)} channels: {', '.join(map(str, pixels.channels))}",
            "Choose one: channel=NAME or channel=NUMBER.",
        )
    stated = row.spacing_um or pixels.spacing_um or reading.spacing_um
    data = pixels.read(tuple(slice(0, n) for n in pixels.shape))[0]
    data = np.nan_to_num(np.asarray(data), nan=0.0, posinf=0.0, neginf=0.0)
    return OpenedImage(data, (stated or (1.0, 1.0, 1.0))[-data.ndim :], stated)


def segment_rows(
    rows: Sequence[Row], workflow: Workflow, folder: Path, reading: Reading
) -> tuple[Path, list[str]]:
    """Write the objects of each row and the table; return the table and the failures.

    An image that fails does not stop the others.

    Parameters
    ----------
    rows : sequence of Row
        With unique ids and a ``name``.
    workflow : Workflow
    folder : Path
    reading : Reading
    """
    cells = []
    for row in rows:
        cells.append(_segment_row(row, workflow, folder, reading))
        log.info("%d of %d: %s, %s", len(cells), len(rows), row.id, cells[-1]["status"])
        write_manifest(folder / TABLE, [*cells, *_pending(rows[len(cells) :])], _COLUMNS)
    failures = [f"{one['id']}: {one['reason']}" for one in cells if one["status"] == "failed"]
    return folder / TABLE, failures


def _pending(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {"id": row.id, "raw": str(row.location("raw")), "status": "pending"}


def _segment_row(row: Row, workflow: Workflow, folder: Path, reading: Reading) -> dict[str, Any]:
    """Return the table cells of an image."""
    started = time.perf_counter()
    kept = ("group", "split", "channel", "scene", "time", "axes")
    cells: dict[str, Any] = {"id": row.id, "raw": str(row.location("raw"))}
    cells |= {name: row[name] for name in kept} | {"model": workflow.described()}
    try:
        image = open_row(row, reading)
        labels = workflow.run(image.data, image.spacing_um)[-1][1]
        count = int(labels.max(initial=0))
        name = Path("labels", f"{row['name']}.ome.tif")
        kind = np.uint16 if count <= 65_535 else np.uint32
        axes = "ZYX"[-labels.ndim :]
        write_image(folder / name, labels.astype(kind), axes, image.stated_um)
    except (ImageError, ManifestError) as error:
        log.warning("%s", error)
        return {**cells, "status": "failed", "reason": "; ".join(error.problems)}
    return {
        **cells,
        "labels": name.as_posix(),
        "spacing_um": format_spacing(image.stated_um),
        "objects": count,
        "seconds": f"{time.perf_counter() - started:.2f}",
        "status": "done",
    }


def write_steps(row: Row, workflow: Workflow, path: Path, reading: Reading) -> None:
    """Draw the result of each step of an image."""
    image = open_row(row, reading)
    write_png(path, steps_sheet(image.data, workflow.run(image.data, image.spacing_um)))


def write_sweep(
    row: Row, grid: Sequence[Sequence[tuple[str, Workflow]]], path: Path, reading: Reading
) -> None:
    """Draw the objects of an image for each workflow of a grid."""
    image = open_row(row, reading)
    write_png(path, sweep_sheet(image.data, image.spacing_um, grid))
