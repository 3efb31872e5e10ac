"""Images out: OME-TIFF with physical sizes, written whole or not at all."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import numpy as np
import tifffile

from cytoloop.atomic import replacing
from cytoloop.images.spacing import Spacing


def write_image(
    path: str | Path,
    data: np.ndarray,
    axes: str,
    spacing_um: Spacing | None = None,
    channels: list[str] | None = None,
) -> None:
    """Write an OME-TIFF (zlib-compressed); a crash leaves the old file or the new, never half.

    The same image makes the same bytes: its UUID is that of its content.

    Parameters
    ----------
    path : str or Path
        Should end in ``.ome.tif``.
    data : ndarray
        Pixels in the order of `axes`; bool becomes uint8.
    axes : str
        For example ``"ZYX"`` or ``"CYX"``.
    spacing_um : tuple of float, optional
        Voxel size (Z, Y, X) in micrometres.
    channels : list of str, optional
        Names, one per channel.
    """
    path = Path(path)
    metadata: dict[str, object] = {"axes": axes}
    if spacing_um is not None:
        for axis, size in zip("ZYX", spacing_um, strict=True):
            if axis != "Z" or "Z" in axes:
                metadata[f"PhysicalSize{axis}"] = float(size)
                metadata[f"PhysicalSize{axis}Unit"] = "\u00b5m"
    if channels:
        metadata["Channel"] = {"Name": channels if "C" in axes else channels[0]}
    data = np.ascontiguousarray(data, np.uint8 if data.dtype == bool else data.dtype)
    digest = hashlib.sha256(f"{data.shape} {data.dtype.str} {sorted(metadata.items())}".encode())
    digest.update(data.data)
    metadata["UUID"] = str(uuid.UUID(bytes=digest.digest()[:16], version=5))
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            data,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata=metadata,
        )


def write_png(path: str | Path, figure: object) -> None:
    """Save a matplotlib figure as a PNG, atomically, and close it."""
    import matplotlib.pyplot as plt

    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")  # type: ignore[attr-defined]
    finally:
        plt.close(figure)  # type: ignore[arg-type]
