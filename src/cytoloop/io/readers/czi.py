"""CZI: bioio's reader, with one plane per block and without a required voxel size.

This module is imported only when a CZI is opened, because aicspylibczi takes seconds to import.
"""

from __future__ import annotations

from typing import Any

from bioio_base.types import PhysicalPixelSizes
from bioio_czi.aicspylibczi_reader.reader import Reader as AicsReader
from bioio_czi.channels import get_channel_names
from bioio_czi.metadata import UnsupportedMetadataError


class Reader(AicsReader):
    """bioio's CZI reader that decodes single planes and accepts a file without a scale.

    Parameters
    ----------
    image : str or Path
        The file.
    **kwargs
        Parameters of bioio's reader.
    """

    def __init__(self, image: Any, **kwargs: Any) -> None:
        super().__init__(image, **{"chunk_dims": ["Y", "X"], **kwargs})

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
