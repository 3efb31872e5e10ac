"""ImageJ format."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi

from cytoloop.curation.exchange.annotation.imagej import is_project, read, write
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.errors import ImageError, ManifestError

SHAPE = (6, 8)
NUMBERS = st.sampled_from([0, 0, 1, 2, 70_000, 2**32 - 1])
LABELS = arrays(np.uint32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=NUMBERS)


def make_roi(left: int, top: int, right: int, bottom: int, **members: object) -> ImagejRoi:
    return ImagejRoi(
        roitype=ROI_TYPE.RECT, left=left, top=top, right=right, bottom=bottom, **members
    )


def write_rois(folder: Path, *rois: tuple[str, ImagejRoi], name: str = "a") -> Path:
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for entry, roi in rois:
            archive.writestr(f"{entry}.roi", roi.tobytes())
    Image.new("L", SHAPE[::-1]).save(folder / f"{name}.png")
    return folder


@given(labels=LABELS, done=st.booleans())
@settings(max_examples=40, deadline=None)
def test_labels_survive_the_round_trip(labels: np.ndarray, done: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = np.zeros(labels.shape, np.uint8)
        empty = Picture("empty", np.zeros_like(labels), image)
        write(folder, [Picture("a.b", labels, image, done), empty], "cell")
        assert is_project(folder)
        back, other = read(folder, "cell")
    assert back.labels.dtype == np.uint32
    np.testing.assert_array_equal(back.labels, labels)
    assert (back.name, back.done, back.new_labels) == ("a.b", done, frozenset())
    assert (other.name, other.done, other.labels.any()) == ("empty", False, False)


def test_written_rois_have_the_names_and_positions_of_imagej(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:5, 1:4] = 12
    write(tmp_path, [Picture("a", labels, np.zeros(SHAPE, np.uint8))])
    roi = ImagejRoi.fromfile(tmp_path / "a.zip")[0]
    assert roi.name == "object_0012"
    low, high = roi.coordinates().min(axis=0), roi.coordinates().max(axis=0)
    assert low.tolist() == [1, 2] and high.tolist() == [4, 5]


def test_rois_of_one_number_are_one_object(tmp_path: Path) -> None:
    rois = [("object_0007", make_roi(0, 0, 1, 1)), ("object_0007-1", make_roi(5, 4, 7, 5))]
    rois.append(("object_0007", make_roi(0, 5, 1, 6)))  # an archive may hold a name twice
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_rois(tmp_path, *rois)
    (picture,) = read(tmp_path)
    assert np.argwhere(picture.labels == 7).tolist() == [[0, 0], [4, 5], [4, 6], [5, 0]]
    assert not picture.new_labels


def test_new_rois_cover_earlier_ones_and_get_the_next_numbers(tmp_path: Path) -> None:
    rois = [("object_0041", make_roi(0, 0, 4, 4)), ("0002-0003", make_roi(2, 2, 6, 6))]
    (picture,) = read(write_rois(tmp_path, *rois))
    assert (picture.labels[1, 1], picture.labels[3, 3], picture.new_labels) == (41, 42, {42})


def test_only_roi_names_with_the_title_are_numbered_objects(tmp_path: Path) -> None:
    rois = [("cell_3", make_roi(0, 0, 1, 1)), ("dog_9", make_roi(1, 1, 2, 2))]
    (picture,) = read(write_rois(tmp_path, *rois), "cell")
    assert (picture.labels[0, 0], picture.labels[1, 1], picture.new_labels) == (3, 4, {4})


def test_shape_is_read_from_a_tiff(tmp_path: Path) -> None:
    write_rois(tmp_path, ("object_1", make_roi(7, 5, 30, 30)))
    (tmp_path / "a.png").unlink()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.uint16))
    (picture,) = read(tmp_path)
    assert np.argwhere(picture.labels).tolist() == [[5, 7]]


def test_composite_that_encloses_nothing_adds_no_object(tmp_path: Path) -> None:
    ring = [0, 0, 0, 1, 3, 0, 1, 3, 3, 4]
    path = np.array(ring + ring, np.float32)  # twice around cancels out
    roi = ImagejRoi(
        roitype=ROI_TYPE.RECT, shape_roi_size=len(path), multi_coordinates=path, right=3, bottom=3
    )
    (picture,) = read(write_rois(tmp_path, ("new", roi)))
    assert not picture.labels.any() and not picture.new_labels


@pytest.mark.parametrize(
    ("name", "roi", "message"),
    [
        ("object_0", make_roi(0, 0, 1, 1), "object_0: number 0, expected a whole number from 1 to"),
        ("object_4294967296", make_roi(0, 0, 1, 1), "expected a whole number from 1 to 4294967295"),
        (
            "object_" + "9" * 5000,
            make_roi(0, 0, 1, 1),
            "expected a whole number from 1 to 4294967295",
        ),
        (
            "object_1",
            make_roi(0, 0, 1, 1, position=3),
            "object_1: is in slice 3, but the picture is 2D",
        ),
        ("../x", ImagejRoi(roitype=ROI_TYPE.LINE), "../x.roi: line has no area"),
    ],
)
def test_faulty_roi_is_reported(tmp_path: Path, name: str, roi: ImagejRoi, message: str) -> None:
    with pytest.raises(ManifestError, match=f"a.zip: .*{message}"):
        read(write_rois(tmp_path, ("object_2", make_roi(0, 0, 1, 1)), (name, roi)))


def test_all_faulty_sets_are_reported_before_the_first_picture(tmp_path: Path) -> None:
    for name in "abcde":
        write_rois(tmp_path, ("object_1", make_roi(0, 0, 1, 1)), name=name)
    (tmp_path / "b.png").unlink()
    (tmp_path / "c.png").write_bytes(b"no picture")
    (tmp_path / "d.zip").write_bytes(b"PK\x05\x06 broken")
    tifffile.imwrite(tmp_path / "e.tif", np.zeros((3, *SHAPE), np.uint8), metadata={"axes": "ZYX"})
    (tmp_path / "e.png").unlink()
    with pytest.raises(ManifestError) as caught:
        read(tmp_path)
    problems = "\n".join(caught.value.problems)
    assert "b.zip: has no image beside it: .png" in problems
    assert "c.zip: c.png is not a readable image" in problems
    assert "d.zip: " in problems
    assert "e.zip: e.tif is a stack (3, 6, 8), expected a 2D image" in problems
    assert "a.zip" not in problems


def test_folder_without_roi_sets_is_not_a_project(tmp_path: Path) -> None:
    assert not is_project(tmp_path)
    with pytest.raises(ManifestError, match="holds no ROI set"):
        read(tmp_path)


def test_picture_without_image_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a: has no image to draw on"):
        write(tmp_path, [Picture("a", np.zeros(SHAPE, np.uint32))])
