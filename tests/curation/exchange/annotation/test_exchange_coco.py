"""COCO format."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from cytoloop.curation.exchange.annotation.coco import is_project, read, write
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.errors import ImageError, ManifestError

SHAPE = (6, 8)
NUMBERS = st.sampled_from([0, 0, 1, 2, 70_000, 2**32 - 1])
LABELS = arrays(np.uint32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=NUMBERS)
SQUARE = [[1, 2, 4, 2, 4, 5, 1, 5]]
IMAGE = {"id": 5, "file_name": "a.png", "height": 6, "width": 8}


def make_annotation(
    segmentation: Any = SQUARE, number: Any = None, **values: Any
) -> dict[str, Any]:
    attributes = {} if number is None else {"attributes": {"number": number}}
    base = {"id": 1, "image_id": 5, "category_id": 3, "segmentation": segmentation}
    return {**base, **attributes, **values}


def write_coco(folder: Path, *annotations: Any, images: Any = (IMAGE,), **values: Any) -> Path:
    content = {
        "images": list(images),
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": "cell"}],
    }
    folder.mkdir(exist_ok=True)
    (folder / "instances.json").write_text(json.dumps({**content, **values}))
    return folder


def read_single(folder: Path, *annotations: Any) -> Picture:
    (picture,) = read(write_coco(folder, *annotations))
    return picture


def square_labels(number: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:5, 1:4] = number
    return labels


@given(labels=LABELS, done=st.booleans())
@settings(max_examples=60, deadline=None)
def test_labels_survive_the_round_trip(labels: np.ndarray, done: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = np.zeros(labels.shape, np.uint8)
        empty = Picture("empty", np.zeros_like(labels), image)
        write(folder, [Picture("a.b", labels, image, done), empty], "cell")
        assert is_project(folder) and is_project(folder / "instances.json")
        back, other = read(folder, "cell")
    assert back.labels.dtype == np.uint32
    np.testing.assert_array_equal(back.labels, labels)
    assert (back.name, back.done, back.new_labels) == ("a.b", done, frozenset())
    assert (other.name, other.done, other.labels.any()) == ("empty", False, False)


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    labels = square_labels(9)
    labels[0, 7] = labels[5, 7] = 4
    labels[3, 2] = 0
    write(tmp_path, [Picture("a", labels, np.zeros(SHAPE, np.uint8))])
    loaded = COCO(tmp_path / "instances.json")
    for entry in loaded.loadAnns(loaded.getAnnIds()):
        expected = labels == entry["attributes"]["number"]
        np.testing.assert_array_equal(loaded.annToMask(entry), expected)
        assert entry["area"] == expected.sum() and entry["iscrowd"] == 0
        assert entry["bbox"] == rle.toBbox(entry["segmentation"]).tolist()


def test_polygons_count_from_the_corners_of_pixels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read_single(tmp_path, make_annotation(number=7)).labels, square_labels(7)
    )
    two = make_annotation([*SQUARE, [6, 0, 8, 0, 8, 1, 6, 1]], 7)
    assert (read_single(tmp_path, two).labels[0] == [0, 0, 0, 0, 0, 0, 7, 7]).all()


@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
@settings(max_examples=40, deadline=None)
def test_run_lengths_of_pycocotools_are_read(mask: np.ndarray) -> None:
    packed = rle.encode(np.asfortranarray(mask, np.uint8))
    counts = packed["counts"].decode()
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.r_[False, flat].astype(int)))
    plain = np.diff(np.r_[0, edges, flat.size]).tolist()
    image = {**IMAGE, "height": mask.shape[0], "width": mask.shape[1]}
    with tempfile.TemporaryDirectory() as name:
        for coded in (counts, plain):
            entry = make_annotation({"size": list(mask.shape), "counts": coded}, 1)
            (picture,) = read(write_coco(Path(name), entry, images=[image]))
            np.testing.assert_array_equal(picture.labels, mask)


def test_later_objects_cover_earlier_ones_and_new_ones_get_the_next_numbers(tmp_path: Path) -> None:
    corner = [[0, 0, 2, 0, 2, 3, 0, 3]]
    picture = read_single(
        tmp_path,
        make_annotation(number=41),
        make_annotation(corner),
        make_annotation([[7, 5, 8, 5, 8, 6, 7, 6]]),
    )
    assert (picture.labels[2, 1], picture.labels[4, 3], picture.labels[5, 7]) == (42, 41, 43)
    assert picture.new_labels == {42, 43}


def test_other_categories_are_ignored(tmp_path: Path) -> None:
    categories = [{"id": 3, "name": "cell"}, {"id": 4, "name": "dog"}]
    folder = write_coco(
        tmp_path, make_annotation(), make_annotation(number=9, category_id=4), categories=categories
    )
    (picture,) = read(folder, "dog")
    np.testing.assert_array_equal(picture.labels, square_labels(9))
    with pytest.raises(ManifestError, match="expected one class, found 'cell', 'dog'"):
        read(folder)
    with pytest.raises(ManifestError, match="has no class 'cat', only 'cell', 'dog'"):
        read(folder, "cat")


def test_file_in_annotations_is_found_and_two_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations", make_annotation(number=2))
    assert is_project(tmp_path)
    (picture,) = read(tmp_path)
    np.testing.assert_array_equal(picture.labels, square_labels(2))
    (tmp_path / "instances_2.json").write_text("{}")
    with pytest.raises(ManifestError, match="found annotations/instances.json, instances_2.json"):
        read(tmp_path)
    assert not is_project(tmp_path / "none")


def run_lengths(counts: Any, size: Any = (6, 8)) -> dict[str, Any]:
    return make_annotation({"size": list(size), "counts": counts})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (make_annotation([]), "segmentation has an outline of 0 pixels"),
        (
            make_annotation([[0, 0, 1, 1]]),
            "a polygon has 4 numbers, expected x, y of 3 points or more",
        ),
        (make_annotation([[0, 0, 1, 1, 2, 2, 3]]), "a polygon has 7 numbers"),
        (make_annotation([[0, 0, 1, 1, 2, "x"]]), "segmentation is not a list of polygons"),
        (make_annotation([3]), "segmentation is not a list of polygons"),
        (
            make_annotation([[0, 0, 1, 1, 2, 1e12]]),
            "a polygon has a coordinate beyond 2000000 pixels",
        ),
        (
            make_annotation([[0, 0, 1, 1, 2, float("nan")]]),
            "a polygon has a coordinate beyond 2000000 pixels",
        ),
        (make_annotation([[0, 0, 1e6, 0] * 3]), "segmentation has an outline of 6000000 pixels"),
        (make_annotation(None), "is null, expected an object"),
        (make_annotation({}), "size is missing"),
        (run_lengths("00", (8, 6)), r"size is \[8, 6\], but its image is \[6, 8\]"),
        (run_lengths(None), "counts are not text and not a list of whole numbers"),
        (run_lengths([1, 2.5]), "counts are not text and not a list of whole numbers"),
        (run_lengths([10**30]), "counts are not text and not a list of whole numbers"),
        (run_lengths([40, 9]), "counts add up to 49 pixels, but its image has 48"),
        (run_lengths([]), "counts add up to 0 pixels, but its image has 48"),
        (run_lengths([50, -2]), "counts are not run lengths: expected numbers from 0 to 48"),
        (run_lengths("02"), "counts add up to 2 pixels, but its image has 48"),
        (run_lengths(""), "counts add up to 0 pixels, but its image has 48"),
        (run_lengths("o"), "counts are not valid compressed run lengths"),
        (run_lengths("\x00~\u00e9"), "counts are not valid compressed run lengths"),
        (
            run_lengths("o" * 50 + "0"),
            "counts are not valid compressed run lengths: a number is too long",
        ),
        (make_annotation(number="x"), "number 'x', expected a whole number from 1 to"),
        (make_annotation(number=1.5), "number 1.5, expected a whole number from 1 to"),
        (make_annotation(attributes=3), "attributes is a whole number, expected an object"),
        (make_annotation(image_id=6), "no image has the id 6"),
        (make_annotation(image_id="6"), "image_id is text, expected a whole number"),
        (make_annotation(category_id=6), "no category has the id 6"),
        (7, "is a whole number, expected an object"),
    ],
)
def test_faulty_annotation_is_reported(tmp_path: Path, annotation: Any, message: str) -> None:
    with pytest.raises(ManifestError, match=f"annotation 2: {message}"):
        read(write_coco(tmp_path, make_annotation(), annotation))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (7, "image 2: is a whole number"),
        ({**IMAGE, "id": None}, "image 2: id is null, expected a whole number"),
        (
            {**IMAGE, "file_name": "../a.png"},
            "image 2: '../a.png' is not a file inside the project folder",
        ),
        ({**IMAGE, "file_name": "/etc/a.png"}, "is not a file inside the project folder"),
        ({**IMAGE, "file_name": "C:\\a.png"}, "is not a file inside the project folder"),
        ({**IMAGE, "file_name": "a\x00.png"}, "is not a file inside the project folder"),
        ({**IMAGE, "file_name": ""}, "'' is not a file inside the project folder"),
        ({**IMAGE, "file_name": "b.png"}, "image 2: an earlier image has the same id, 5"),
        ({**IMAGE, "id": 6, "file_name": "b/a.png"}, "image 2: is a second picture 'a', after im"),
        (
            {**IMAGE, "id": 6, "file_name": "b.png", "width": 10**9},
            "image 2, b.png: size 1000000000 x",
        ),
        ({"id": 6, "file_name": "b.png", "height": 4}, "image 2, b.png: width is missing"),
    ],
)
def test_faulty_image_is_reported(tmp_path: Path, image: Any, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(write_coco(tmp_path, images=[IMAGE, image]))


def test_all_faults_are_reported_before_the_first_picture(tmp_path: Path) -> None:
    images = [IMAGE, {**IMAGE, "id": 6, "file_name": "../b.png"}]
    annotations = [
        make_annotation(),
        make_annotation([[0]]),
        make_annotation(image_id=6),
        make_annotation(image_id=9),
        make_annotation(number=0),
    ]
    with pytest.raises(ManifestError) as caught:
        read(write_coco(tmp_path, *annotations, images=images))
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        ["image 2", "'../b.png' is not a file inside the project folder"],
        ["annotation 4", "no image has the id 9"],
        ["image 1, a.png", "annotation 5"],
        ["image 1, a.png", "annotation 2"],
    ]


def test_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / "images/a.png")
    with pytest.raises(ManifestError, match=r"a.png: size \(Y, X\) is \(6, 8\), but .* \(5, 5\)"):
        read(write_coco(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is a list, expected"),
        ('{"images": []}', "annotations is miss"),
    ],
)
def test_file_of_another_format_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(ManifestError, match=f"instances.json: {message}"):
        read(tmp_path)


def test_picture_without_image_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a: has no image to draw on"):
        write(tmp_path, [Picture("a", np.zeros(SHAPE, np.uint32))])
