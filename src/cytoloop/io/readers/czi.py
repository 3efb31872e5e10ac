"""CZI plane by plane, and without a voxel size, which bioio refuses to read.

This module is imported only when a CZI is opened: its library takes seconds.
"""

from __future__ import annotations

from typing import Any

from bioio_base.types import PhysicalPixelSizes
from bioio_czi import Reader
from bioio_czi.aicspylibczi_reader.reader import Reader as _Tiles
from bioio_czi.aicspylibczi_reader.reader import get_channel_names
from bioio_czi.metadata import UnsupportedMetadataError


class CziReader(Reader):
    """bioio's reader, which decodes one plane for one plane, and takes a missing scale.

    Parameters
    ----------
    image : str or Path
        The file.
    """

    def __init__(self, image: Any, **kwargs: Any) -> None:
        self._implementation = _Unscaled(image, **{"chunk_dims": ["Y", "X"], **kwargs})


class _Unscaled(_Tiles):
    @staticmethod
    def _get_coords_and_physical_px_sizes(
        xml: Any, scene_index: int, dims_shape: dict[str, Any]
    ) -> tuple[dict[str, Any], PhysicalPixelSizes]:
        try:
            return _Tiles._get_coords_and_physical_px_sizes(xml, scene_index, dims_shape)
        except UnsupportedMetadataError:
            names = get_channel_names(xml, scene_index, dims_shape)
            return {} if names is None else {"C": names}, PhysicalPixelSizes(None, None, None)
