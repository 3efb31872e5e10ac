"""CZI, by bioio's reader: single planes are decoded, and a scale is not required.

This module is imported only when a CZI is opened, because aicspylibczi takes seconds to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aicspylibczi import CziFile
from bioio_base.types import PhysicalPixelSizes
from bioio_czi.aicspylibczi_reader.reader import Reader as AicsReader
from bioio_czi.channels import get_channel_names
from bioio_czi.metadata import UnsupportedMetadataError

from cytoloop.errors import ImageError
from cytoloop.io.readers.bioio import BioioReader


class _PlaneReader(AicsReader):
    """bioio's CZI reader that accepts a file without a scale."""

    @staticmethod
    def _get_coords_and_physical_px_sizes(
        xml: Any, scene_index: int, dims_shape: dict[str, Any]
    ) -> tuple[dict[str, Any], PhysicalPixelSizes]:
        # A private method, because bioio-czi has no option to read a CZI without a scale.
        try:
            return AicsReader._get_coords_and_physical_px_sizes(xml, scene_index, dims_shape)
        except UnsupportedMetadataError:
            names = get_channel_names(xml, scene_index, dims_shape)
            return {} if names is None else {"C": names}, PhysicalPixelSizes(None, None, None)


class Reader(BioioReader):
    """Reader of CZI files, see `cytoloop.io.readers.scene.ImageReader`.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ImageError
        The file has several blocks, which bioio drops.
    """

    mirrored = "S"  # a CZI stores blue, green, red

    def __init__(self, path: str | Path) -> None:
        # without A, the samples of a colour, bioio returns the first one for all of them
        super().__init__(path, _PlaneReader(path, chunk_dims=["Y", "X", "A"]))
        blocks = max(int(dims.get("B", (0, 1))[1]) for dims in CziFile(path).get_dims_shape())
        if blocks > 1:
            raise ImageError(
                str(path),
                f"has {blocks} blocks (axis B), of which bioio reads the first",
                "Export each block from ZEN to its own file.",
            )
