"""Read TIFF images: channels, voxel sizes, labels, errors, listing and single planes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.errors import ImageError
from cytoloop.io.labels import as_labels, read_labels
from cytoloop.io.listing import list_images
from cytoloop.io.names import stem
from cytoloop.io.pixels import open_pixels
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.tiff import write_image


@pytest.mark.parametrize(
    "axes, shape", [("ZYX", (4, 6, 7)), ("CZYX", (2, 4, 6, 7)), ("YX", (6, 7)), ("CYX", (3, 6, 7))]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_written_image_is_read_with_the_same_pixels_and_voxel_size(
    tmp_path: Path, axes: str, shape: tuple[int, ...], dtype: str
) -> None:
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    names = [f"dye {i}" for i in range(shape[0] if "C" in axes else 1)]
    path = tmp_path / "a.ome.tif"
    write_image(path, data, axes, (2.0, 0.5, 0.25), names)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data if "C" in axes else data[None])
    assert image.data.dtype == dtype and image.channels == tuple(names)
    assert image.spacing_um == ((2.0, 0.5, 0.25) if "Z" in axes else (1.0, 0.5, 0.25))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.tif"]


def test_channel_is_selected_by_name_or_number(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    write_image(path, data, "CYX", None, ["DNA", "membrane"])
    for channel in ("membrane", 1, "1", [1]):
        np.testing.assert_array_equal(read_image(path, channel).data, data[1:])
    with pytest.raises(ImageError, match="has no channel 'GFP'.*\n.*0: DNA, 1: membrane"):
        read_image(path, "GFP")
    with pytest.raises(ImageError, match="has no scene 'B'"):
        read_image(path, scene="B")
    with pytest.raises(ImageError, match="has no time point 3"):
        read_image(path, time=3)


def test_imagej_voxel_size_is_read_and_a_dpi_resolution_is_ignored(
    tmp_path: Path, tiff: Callable[[Path, np.ndarray], Path]
) -> None:
    stack = np.zeros((4, 5, 6), np.uint8)
    assert read_header(tiff(tmp_path / "ij.tif", stack)).spacing_um == pytest.approx(
        (0.6, 0.3, 0.3)
    )
    dpi = {"resolution": (72, 72), "resolutionunit": "INCH", "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "dpi.tif", stack, **dpi)
    header = read_header(tmp_path / "dpi.tif")
    assert header.spacing_um is None and header.spatial == (4, 5, 6)


def test_rgb_samples_are_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", pixels, photometric="rgb")
    assert read_header(tmp_path / "rgb.tif").channels == ("sample 0", "sample 1", "sample 2")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.tif").data, np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize(
    "content, reason",
    [(None, "no such file"), (b"", "is empty"), (b"II*\0rubbish", "cannot be read")],
)
def test_error_for_an_unreadable_file_names_file_and_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    for read in (read_header, read_image, read_labels):
        with pytest.raises(ImageError, match=f"a.tif.*{reason}"):
            read(path)


@pytest.mark.parametrize(
    "values, reason",
    [([0.5, 1], "fractions"), ([np.nan, 1], "or NaN"), ([np.inf, 0], "infinity"), ([-1, 1], "neg")],
)
def test_fractional_and_negative_labels_are_refused(
    tmp_path: Path, values: list[float], reason: str
) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.array([values] * 4, np.float32))
    with pytest.raises(ImageError, match=reason):
        read_labels(tmp_path / "s.tif")


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_numbers_above_32_bits_stay_different(tmp_path: Path, dtype: type) -> None:
    large = np.array([[0, 1, 2**32 + 1]] * 4, dtype)
    np.testing.assert_array_equal(as_labels(tmp_path / "a", large), large)


def test_whole_numbers_in_float_are_labels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.array([[0, 3]] * 4, np.float32))
    labels = read_labels(tmp_path / "s.tif")
    assert labels.dtype == np.uint32 and labels.max() == 3


def test_folders_patterns_and_files_are_listed(tmp_path: Path) -> None:
    for name in ("b.tif", "a.ome.tif", "note.txt", ".hidden.tif", "deep/c.czi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.ome.tif", "b.tif"]
    assert [p.name for p in list_images(f"{tmp_path}/**/*.czi")] == ["c.czi"]
    assert [p.name for p in list_images(f"{tmp_path}/{{a,b}}.{{tif,ome.tif}}")] == [
        "a.ome.tif",
        "b.tif",
    ]
    assert [p.name for p in list_images(f"{tmp_path}/*")] == ["a.ome.tif", "b.tif"]
    assert [p.name for p in list_images(f"{tmp_path}/n*")] == ["note.txt"]
    assert list_images(tmp_path / "b.tif") == [tmp_path / "b.tif"]
    assert [stem(p) for p in list_images(tmp_path)] == ["a", "b"]
    with pytest.raises(ImageError, match="matches no file"):
        list_images(f"{tmp_path}/*.png")
    with pytest.raises(ImageError, match="no such file or folder"):
        list_images(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no image"):
        list_images(tmp_path / "empty")


@pytest.mark.realdata
def test_real_files_are_read(real_data: Path) -> None:
    read, refused = [], []
    for path in sorted((real_data / "formats").glob("*/*")):
        try:
            header = read_header(path)
            image = read_image(path, scene=header.scenes[0], time=0)
        except ImageError as error:
            refused.append(path.name)
            assert "cannot be read" in str(error)
        else:
            read.append(path.name)
            assert image.data.ndim in (3, 4) and len(image.channels) == len(image.data)
    assert len(read) >= 8 and refused == []


@pytest.mark.parametrize("unit, factor", [("nm", 1e-3), ("mm", 1e3), ("\u00b5m", 1.0)])
def test_units_of_an_ome_tiff_are_converted_to_um(tmp_path: Path, unit: str, factor: float) -> None:
    metadata = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (2, 1, 0.5), strict=True)}
    metadata |= {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"}
    path = tmp_path / "a.ome.tif"
    data = np.zeros((4, 5, 6), np.uint8)
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZYX", **metadata})
    assert read_header(path).spacing_um == pytest.approx((2 * factor, factor, 0.5 * factor))


def test_stack_without_a_z_step_has_no_voxel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, np.zeros((4, 5, 6), np.uint8), ome=True, metadata=metadata)
    assert read_header(path).spacing_um is None


@pytest.mark.parametrize(
    "shape, written",
    [
        ((7, 30, 40), {}),
        ((7, 30, 40), {"metadata": None}),
        ((3, 7, 2, 30, 40), {"imagej": True, "metadata": {"axes": "TZCYX"}}),
        ((2, 3, 7, 30, 40), {"ome": True, "metadata": {"axes": "TCZYX"}}),
        ((7, 64, 96), {"ome": True, "metadata": {"axes": "ZYX"}, "tile": (32, 32)}),
        ((30, 40), {}),
    ],
    ids=["plain", "pages", "ImageJ", "OME", "tiles", "plane"],
)
def test_large_tiff_is_read_plane_by_plane(tmp_path: Path, shape: tuple, written: dict) -> None:
    data = np.random.default_rng(0).integers(1, 99, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib", **written)
    for time in range(read_header(tmp_path / "a.tif").shape[0]):
        whole = read_image(tmp_path / "a.tif", time=time)
        pixels = open_pixels(tmp_path / "a.tif", time=time, in_memory=0)
        box = tuple(slice(0, n) for n in pixels.shape)
        assert (pixels.channels, pixels.spacing_um) == (tuple(whole.channels), whole.spacing_um)
        np.testing.assert_array_equal(pixels.read(box), whole.data)
        np.testing.assert_array_equal(
            pixels.read((slice(1, 3), *box[1:-1], slice(5, 20))),
            whole.data[:, 1:3][..., 5:20],
        )


def test_only_the_requested_planes_are_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(1, 99, (9, 64, 64), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[8].dataoffsets[0], tif.pages[8].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(bytes(content))
    pixels = open_pixels(path, in_memory=0)
    box = (slice(0, 64), slice(0, 64))
    np.testing.assert_array_equal(pixels.read((slice(2, 6), *box))[0], data[2:6])
    with pytest.raises(ImageError, match="cannot be read"):
        pixels.read((slice(7, 9), *box))


def test_files_are_closed_after_reading(tmp_path: Path) -> None:
    import gc

    import psutil

    data = np.zeros((4, 16, 16), np.uint8)
    write_image(tmp_path / "a.ome.tif", data, "ZYX", (2.0, 0.5, 0.25))
    gc.disable()  # the objects of tifffile refer to each other
    try:
        for _ in range(5):
            read_header(tmp_path / "a.ome.tif")
            read_image(tmp_path / "a.ome.tif")
            read_labels(tmp_path / "a.ome.tif")
            open_pixels(tmp_path / "a.ome.tif")
        opened = [file.path for file in psutil.Process().open_files()]
    finally:
        gc.enable()
    assert str(tmp_path / "a.ome.tif") not in opened
