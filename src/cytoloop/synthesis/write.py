"""Folders of synthetic images and labels, which `cytoloop curate` reads."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from cytoloop.errors import OutputError
from cytoloop.io.atomic import replacing
from cytoloop.io.writers.tiff import write_image
from cytoloop.synthesis.image import draw_image
from cytoloop.synthesis.settings import SynthesisSettings
from cytoloop.version import __version__
from cytoloop.workers.local import run_parallel

log = logging.getLogger(__name__)

RECORD = "synthesis.json"
"""Settings, seed and version, beside the images."""


@dataclass(frozen=True)
class Series:
    """A series of synthetic images.

    Attributes
    ----------
    settings : SynthesisSettings
    seed : int
    folder : Path
        Gets ``raw/`` and ``seg/`` with files of the same names.
    """

    settings: SynthesisSettings
    seed: int
    folder: Path


@dataclass(frozen=True)
class _Job:
    series: Series
    number: int


def write_series(series: Series, count: int, workers: int = 1) -> list[Path]:
    """Write `count` images with labels, and the record of their settings; return the raw images.

    Parameters
    ----------
    series : Series
    count : int
    workers : int
        Processes.

    Raises
    ------
    OutputError
        The folder holds something else.
    """
    _check_folder(series)
    series.folder.mkdir(parents=True, exist_ok=True)
    with replacing(series.folder / RECORD) as temporary:
        temporary.write_text(json.dumps(_record(series), indent=1) + "\n")
    jobs = [_Job(series, number) for number in range(count)]
    return [path for _, path in sorted(run_parallel(_write_image, jobs, workers))]


def _check_folder(series: Series) -> None:
    """Refuse a folder with other images: names would clash, and the record would lie."""
    folder = series.folder
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    record = folder / RECORD
    if record.is_file() and json.loads(record.read_text()) == _record(series):
        return
    raise OutputError(
        str(folder),
        "is not empty, and holds no synthetic images of these settings",
        "Choose another output=, or replace it with overwrite=true.",
    )


def _record(series: Series) -> dict[str, object]:
    settings = json.loads(json.dumps(asdict(series.settings)))
    return {"cytoloop": __version__, "seed": series.seed, "settings": settings}


def _write_image(job: _Job) -> Path:
    """Write an image and its labels; one that is there is kept."""
    name = f"seed{job.series.seed}_{job.number:04d}.ome.tif"
    raw, seg = (job.series.folder / kind / name for kind in ("raw", "seg"))
    if raw.is_file() and seg.is_file():
        return raw
    image = draw_image(job.series.settings, job.series.seed, job.number)
    axes = "ZYX"[-image.raw.ndim :]
    for path, data in ((seg, image.labels), (raw, image.raw)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, data, axes, image.spacing_um)
    return raw
