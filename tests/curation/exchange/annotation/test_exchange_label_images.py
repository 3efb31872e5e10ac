"""Label image format."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from bioio_ome_zarr.writers import OMEZarrWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cytoloop.curation.exchange.annotation.label_images import (
    is_project,
    read,
    write,
)
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.errors import ManifestError
from cytoloop.io.read import read_image

NUMBERS = st.sampled_from([0, 0, 1, 2, 70_000, 2**32 - 1])
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12)
LABELS = arrays(np.uint32, SHAPES, elements=NUMBERS)
SIMPLE = np.arange(48).reshape(6, 8) // 10


def write_labels(folder: Path, **files: np.ndarray) -> Path:
    """Write plain TIFFs."""
    (folder / "labels").mkdir()
    for name, data in files.items():
        tifffile.imwrite(folder / "labels" / f"{name}.tif", data)
    return folder


@given(labels=LABELS, done=st.booleans())
@settings(max_examples=6, deadline=None)
def test_labels_survive_the_round_trip(labels: np.ndarray, done: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = np.zeros(labels.shape, np.uint8)
        empty = Picture("empty", np.zeros_like(labels))
        write(folder, [Picture("a.b", labels, image, done), empty])
        assert is_project(folder)
        back, other = read(folder, "cell")
    assert back.labels.dtype == np.uint32
    np.testing.assert_array_equal(back.labels, labels)
    assert (back.name, back.done, back.new_labels) == ("a.b", done, frozenset())
    assert (other.name, other.done, other.labels.any()) == ("empty", False, False)


@pytest.mark.parametrize(("largest", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_labels_get_the_smallest_dtype_and_the_image_is_written(
    tmp_path: Path, largest: int, dtype: type
) -> None:
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    write(tmp_path, [Picture("a", np.full((6, 8), largest, np.uint32), image)])
    assert read_image(tmp_path / "labels/a.ome.tif").data.dtype == dtype
    np.testing.assert_array_equal(read_image(tmp_path / "images/a.ome.tif").data[0], image)


def test_plain_tiff_and_ome_zarr_are_read(tmp_path: Path) -> None:
    write_labels(tmp_path, a=SIMPLE.astype(np.uint8))
    writer = OMEZarrWriter(
        store=str(tmp_path / "labels/b.ome.zarr"),
        level_shapes=[SIMPLE.shape],
        dtype="uint16",
        zarr_format=2,
        axes_names=["y", "x"],
        axes_types=["space", "space"],
    )
    writer.write_full_volume(SIMPLE.astype(np.uint16))
    a, b = read(tmp_path)
    assert (a.name, b.name) == ("a", "b")
    np.testing.assert_array_equal(a.labels, SIMPLE)
    np.testing.assert_array_equal(b.labels, SIMPLE)


def test_all_faulty_files_are_reported_before_the_first_picture(tmp_path: Path) -> None:
    folder = write_labels(
        tmp_path,
        a=SIMPLE.astype(np.uint8),
        b=SIMPLE.astype(np.int16) - 1,
        c=SIMPLE / 2,
        d=np.zeros((3, 6, 8), np.uint8),
        e=np.full((6, 8), 2**32, np.uint64),
        f=np.zeros((6, 8, 3), np.uint8),
        g=SIMPLE.astype(np.uint8),
    )
    (folder / "labels/h.tif").write_bytes(b"no tiff")
    tifffile.imwrite(folder / "labels/a.tiff", SIMPLE.astype(np.uint8))
    (folder / "images").mkdir()
    tifffile.imwrite(folder / "images/g.tif", np.zeros((5, 5), np.uint8))
    with pytest.raises(ManifestError) as caught:
        read(folder)
    expected = [
        "labels/a.tiff: is a second picture 'a', after labels/a.tif",
        "labels/b.tif: holds negative labels (down to -1)",
        "labels/c.tif: holds fractions, infinity or NaN, expected whole numbers (0 = background)",
        "labels/d.tif: (T, C, Z) is (1, 3, 1), expected a 2D label image: (1, 1, 1)",
        "labels/e.tif: has label 4294967296, expected at most 4294967295",
        "labels/f.tif: (T, C, Z) is (1, 3, 1), expected a 2D label image: (1, 1, 1)",
        "labels/g.tif: size (Y, X) is (6, 8), but its image is (5, 5)",
    ]
    assert caught.value.problems[:-1] == expected
    assert caught.value.problems[-1].startswith("labels/h.tif: cannot be read")


def test_blurred_mask_is_refused(tmp_path: Path) -> None:
    """A mask that was saved as JPEG, or resized with interpolation, comes back with grey rims."""
    mask = np.zeros((40, 40))
    mask[8:30, 10:28] = 255
    blurred = scipy.ndimage.gaussian_filter(mask, 1).round().astype(np.uint8)
    folder = write_labels(tmp_path, a=blurred)
    with pytest.raises(
        ManifestError, match=r"a.tif: holds .* values in .* pieces.*expected labels"
    ):
        read(folder)


def test_file_that_claims_a_huge_size_is_refused(tmp_path: Path) -> None:
    folder = write_labels(tmp_path, a=SIMPLE.astype(np.uint8))
    with tifffile.TiffFile(folder / "labels/a.tif", mode="r+b") as tif:
        tif.pages[0].tags["ImageWidth"].overwrite(10**6)
        tif.pages[0].tags["ImageLength"].overwrite(10**6)
    with pytest.raises(
        ManifestError, match=r"a.tif: (declares .* GiB of pixels|cannot be read completely)"
    ):
        read(folder)


def test_folder_without_labels_is_not_a_project(tmp_path: Path) -> None:
    assert not is_project(tmp_path)
    (tmp_path / "labels").mkdir()
    with pytest.raises(ManifestError, match="the folder holds no image"):
        read(tmp_path)
