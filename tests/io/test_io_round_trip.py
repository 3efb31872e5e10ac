"""Files that are written here are read again, here and by other readers, unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cytoloop.io.labels import read_labels
from cytoloop.io.notes import collect_notes
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr

RNG = np.random.default_rng(0)
SPACING = (2.0, 0.5, 0.25)
SHAPES = {"YX": (20, 30), "ZYX": (5, 20, 30), "CYX": (2, 20, 30), "CZYX": (2, 5, 20, 30)}
DTYPES = [np.uint8, np.uint16, np.uint32, np.float32]
NAMES = ["DNA", "\u03b2-actin <&>"]


def pixels(axes: str, dtype: Any) -> np.ndarray:
    data: np.ndarray = RNG.integers(0, 200, SHAPES[axes]).astype(dtype)
    return data


def check(path: Path, data: np.ndarray, axes: str, names: list[str]) -> None:
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data if "C" in axes else data[None])
    assert image.data.dtype == data.dtype and list(image.channels) == names
    assert image.spacing_um == pytest.approx(SPACING if "Z" in axes else (1.0, *SPACING[1:]))
    if "C" not in axes and data.dtype.kind == "u":
        np.testing.assert_array_equal(read_labels(path), data)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ome_tiff(tmp_path: Path, axes: str, dtype: Any) -> None:
    path, data = tmp_path / "a.ome.tif", pixels(axes, dtype)
    names = NAMES if "C" in axes else NAMES[1:]
    write_image(path, data, axes, SPACING, names)
    check(path, data, axes, names)
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.asarray(), data)
        assert file.series[0].axes == axes
    from ome_types import from_tiff

    found = from_tiff(path).images[0].pixels
    assert [channel.name for channel in found.channels] == names
    stated = [found.physical_size_y, found.physical_size_x]
    assert stated == list(SPACING[1:]) and found.physical_size_x_unit.value == "\u00b5m"
    assert found.physical_size_z == (SPACING[0] if "Z" in axes else None)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, axes: str, version: str) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path, data = tmp_path / "a.ome.zarr", pixels(axes, np.uint16)
    names = NAMES if "C" in axes else NAMES[1:]
    write_zarr(path, data, axes, SPACING, channels=names, version=version)
    check(path, data, axes, names)
    location = parse_url(str(path))
    assert location is not None
    node = next(iter(Reader(location)()))
    np.testing.assert_array_equal(np.asarray(node.data[0]), data)
    stated = node.metadata
    assert "".join(axis["name"] for axis in stated["axes"]).upper() == axes
    scale = stated["coordinateTransformations"][0][0]["scale"]
    by_axis = dict(zip(axes, scale, strict=True))
    assert [by_axis[axis] for axis in "YX"] == list(SPACING[1:])
    assert by_axis.get("Z", SPACING[0]) == SPACING[0]
    assert list(stated["channel_names"]) == names


def test_image_without_a_voxel_size_has_none_again(tmp_path: Path) -> None:
    data = pixels("ZYX", np.uint8)
    write_image(tmp_path / "a.ome.tif", data, "ZYX")
    for version in ("0.4", "0.5"):
        write_zarr(tmp_path / f"{version}.ome.zarr", data, "ZYX", version=version)
    for path in tmp_path.iterdir():
        assert read_image(path).spacing_um is None


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "nrrd", "mrc"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_volumes_that_other_libraries_write(tmp_path: Path, kind: str, ndim: int) -> None:
    nibabel, nrrd, mrcfile = map(pytest.importorskip, ("nibabel", "nrrd", "mrcfile"))
    data, path = pixels("ZYX"[-ndim:], np.uint16), tmp_path / f"a.{kind}"
    sizes = SPACING[-ndim:][::-1]
    if kind.startswith("nii"):
        image = nibabel.Nifti1Image(data.T, None)
        image.header.set_zooms(sizes)
        image.header.set_xyzt_units("micron")
        nibabel.save(image, path)
    elif kind == "nrrd":
        units = ["um"] * ndim
        directions = np.diag(sizes)
        header = {"space directions": directions, "space units": units, "space dimension": ndim}
        nrrd.write(str(path), data.T, header)
    else:
        with mrcfile.new(path) as file:
            file.set_data(data)
            file.voxel_size = tuple(size * 1e4 for size in SPACING[::-1])
    image = read_image(path)
    np.testing.assert_array_equal(image.data[0], data)
    thickness = SPACING[0] if ndim == 3 or kind == "mrc" else 1.0
    assert image.spacing_um == pytest.approx((thickness, *SPACING[1:]))
    np.testing.assert_array_equal(read_labels(path), data)


@pytest.mark.parametrize("kind", ["nii", "nrrd"])
def test_sizes_of_volumes_without_a_unit_are_unknown_with_a_warning(
    tmp_path: Path, kind: str
) -> None:
    nibabel, nrrd = map(pytest.importorskip, ("nibabel", "nrrd"))
    data, path = pixels("ZYX", np.uint16), tmp_path / f"a.{kind}"
    if kind == "nii":
        nibabel.save(nibabel.Nifti1Image(data.T, np.diag([0.25, 0.5, 2.0, 1.0])), path)
    else:
        nrrd.write(str(path), data.T, {"spacings": [0.25, 0.5, 2.0]})
    with collect_notes() as notes:
        assert read_image(path).spacing_um is None
    assert "0.25 X x 0.5 Y x 2 Z without a unit" in notes[0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_masks_of_cellpose(tmp_path: Path, ndim: int) -> None:
    masks = RNG.integers(0, 9, (3, 20, 30)[-ndim:], np.uint16)
    content = {
        "masks": masks,
        "outlines": masks > 7,
        "chan_choose": [0, 0],
        "ismanual": np.zeros(8, bool),
        "filename": "a.tif",
        "flows": [masks.astype(np.float32), None, [masks]],
        "est_diam": np.float64(30.0),
        "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0]},
    }
    path = tmp_path / "a_seg.npy"
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_labels(path), masks)
