"""`cytoloop synthesize`: settings in, synthetic images with labels out."""

from __future__ import annotations

import logging
import shlex
import shutil
from pathlib import Path
from typing import Any

from cytoloop.bounds import Bounds, raise_faults
from cytoloop.cli.app import config_to_dict
from cytoloop.errors import OutputError
from cytoloop.synthesis.settings import SynthesisSettings, synthesis_faults
from cytoloop.synthesis.write import RECORD, Series, write_series

log = logging.getLogger(__name__)

_NUMBERS = (
    Bounds("number", 1, 100_000),
    Bounds("seed", 0, 2**32 - 1),
    Bounds("workers", 0, 1024),
)


def run(cfg: Any) -> None:
    """Write the images, and log the command that reads them."""
    folder = synthesize_images(cfg)
    log.info("wrote %d images with labels: %s", cfg.number, folder)
    words = shlex.join([f"raw={folder / 'raw'}", f"seg1={folder / 'seg'}"])
    log.info("next: cytoloop curate %s output=dataset/", words)


def synthesize_images(cfg: Any) -> Path:
    """Write synthetic images with labels; return their folder."""
    values = config_to_dict(cfg)
    faults = [(b.key, fault) for b in _NUMBERS if (fault := b.fault(values[b.key]))]
    raise_faults(
        [*faults, *synthesis_faults(values["synthesis"])], "See `cytoloop synthesize --help`."
    )
    series = Series(
        SynthesisSettings.from_config(values["synthesis"]), int(cfg.seed), Path(str(cfg.output))
    )
    if cfg.overwrite and series.folder.is_dir():
        _remove(series.folder)
    write_series(series, int(cfg.number), int(cfg.workers))
    return series.folder


def _remove(folder: Path) -> None:
    """Remove the synthetic images of a folder; a folder with anything else is refused."""
    others = [p.name for p in folder.iterdir() if p.name not in ("raw", "seg", RECORD)]
    if others or not (folder / RECORD).is_file():
        raise OutputError(
            str(folder),
            "holds more than synthetic images, so overwrite=true does not replace it",
            "Choose another output=.",
        )
    for part in ("raw", "seg"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / RECORD).unlink()
