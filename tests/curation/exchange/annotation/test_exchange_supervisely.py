"""Supervisely format."""

from __future__ import annotations

import base64
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.annotation.supervisely import (
    is_project,
    read,
    write,
)
from cytoloop.errors import ImageError, ManifestError

SHAPE = (6, 8)
NUMBERS = st.sampled_from([0, 0, 1, 2, 70_000, 2**32 - 1])
LABELS = arrays(np.uint32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=NUMBERS)


def pack_mask(mask: np.ndarray, mode: str = "L") -> str:
    """Return a mask as an object's data: bright, or opaque where the mode has alpha."""
    image = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    if mode == "RGBA":
        black = Image.new("L", image.size)
        image = Image.merge("RGBA", [black, black, black, image])
    file = io.BytesIO()
    image.convert(mode).save(file, format="PNG")
    return base64.b64encode(zlib.compress(file.getvalue())).decode()


def make_bitmap(
    mask: np.ndarray, origin: Any = (0, 0), number: Any = None, mode: str = "L"
) -> dict[str, Any]:
    tags = [] if number is None else [{"name": "number", "value": number}]
    data = {"data": pack_mask(mask, mode), "origin": list(origin)}
    return {"classTitle": "cell", "geometryType": "bitmap", "bitmap": data, "tags": tags}


def make_polygon(exterior: Any, *interior: Any) -> dict[str, Any]:
    points = {"exterior": exterior, "interior": list(interior)}
    return {"classTitle": "cell", "geometryType": "polygon", "points": points}


def make_annotation(*objects: Any, shape: tuple[int, int] = SHAPE) -> dict[str, Any]:
    size = {"height": shape[0], "width": shape[1]}
    return {"description": "", "tags": [], "size": size, "objects": list(objects)}


def write_project(folder: Path, classes: tuple[str, ...] = ("cell",), **pictures: Any) -> Path:
    """Write a project of one dataset; text is written as it is."""
    (folder / "ds" / "ann").mkdir(parents=True)
    meta = {"classes": [{"title": title, "shape": "bitmap"} for title in classes]}
    (folder / "meta.json").write_text(json.dumps(meta))
    for name, content in pictures.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "ds" / "ann" / f"{name}.png.json").write_text(text)
    return folder


def read_single(folder: Path, *objects: Any) -> Picture:
    (picture,) = read(write_project(folder, a=make_annotation(*objects)))
    return picture


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


def test_written_files_have_supervisely_format(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:4, 5] = 12
    image = np.arange(48, dtype=np.uint8).reshape(SHAPE)
    write(tmp_path, [Picture("a", labels, image, True)], "cell")
    written = json.loads((tmp_path / "pictures/ann/a.png.json").read_text())
    assert written["size"] == {"height": 6, "width": 8}
    assert [tag["name"] for tag in written["tags"]] == ["done"]
    (one,) = written["objects"]
    assert (one["classTitle"], one["geometryType"]) == ("cell", "bitmap")
    assert one["bitmap"]["origin"] == [5, 2]
    assert one["tags"] == [{"name": "number", "value": "12"}]
    png = Image.open(io.BytesIO(zlib.decompress(base64.b64decode(one["bitmap"]["data"]))))
    assert np.asarray(png.convert("RGBA"))[..., 3].tolist() == [[255], [255]]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures/img/a.png")), image)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_every_kind_of_bitmap_is_read(tmp_path: Path, mode: str) -> None:
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
    if mode == "LA":  # opaque and black, transparent and bright
        image = Image.fromarray(np.where(mask, np.uint8(0), np.uint8(255)))
        image.putalpha(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))))
        file = io.BytesIO()
        image.save(file, format="PNG")
        one = make_bitmap(mask, (4, 2), "3")
        one["bitmap"]["data"] = base64.b64encode(zlib.compress(file.getvalue())).decode()
    else:
        one = make_bitmap(mask, (4, 2), "3", mode)
    expected = np.zeros(SHAPE, np.uint32)
    expected[2:4, 4:7] = 3 * mask
    np.testing.assert_array_equal(read_single(tmp_path, one).labels, expected)


def test_polygons_are_filled_at_pixel_centres(tmp_path: Path) -> None:
    outer, hole = [[1, 0], [5, 0], [5, 4], [1, 4]], [[3, 2], [3.4, 2], [3.4, 2.4], [3, 2.4]]
    expected = np.zeros(SHAPE, np.uint32)
    expected[0:5, 1:6] = 1
    expected[2, 3] = 0
    np.testing.assert_array_equal(read_single(tmp_path, make_polygon(outer, hole)).labels, expected)


def test_polygon_is_cut_at_the_border(tmp_path: Path) -> None:
    picture = read_single(tmp_path, make_polygon([[6, 4], [20, 4], [20, 30], [6, 30]]))
    assert np.argwhere(picture.labels).tolist() == [[4, 6], [4, 7], [5, 6], [5, 7]]
    far = read_single(tmp_path / "far", make_polygon([[60, 40], [70, 40], [70, 50]]))
    assert not far.labels.any() and not far.new_labels


def test_later_objects_cover_earlier_ones_and_new_ones_get_the_next_numbers(tmp_path: Path) -> None:
    full, half = np.ones(SHAPE, bool), np.ones((6, 4), bool)
    picture = read_single(
        tmp_path, make_bitmap(full), make_bitmap(half, number=41), make_bitmap(half[:1, :1])
    )
    assert picture.labels[0, 0] == 43 and picture.labels[1, 0] == 41 and picture.labels[0, 7] == 42
    assert picture.new_labels == {42, 43}


def test_covered_new_object_is_not_listed(tmp_path: Path) -> None:
    dot = np.ones((1, 1), bool)
    picture = read_single(tmp_path, make_bitmap(dot), make_bitmap(dot, number="7"))
    assert picture.labels[0, 0] == 7 and not picture.new_labels


def test_objects_with_the_same_number_are_one_object(tmp_path: Path) -> None:
    dot = np.ones((1, 1), bool)
    picture = read_single(tmp_path, make_bitmap(dot, number="7"), make_bitmap(dot, (5, 5), "7"))
    assert np.argwhere(picture.labels == 7).tolist() == [[0, 0], [5, 5]]


def test_other_classes_are_ignored(tmp_path: Path) -> None:
    dot = np.ones((1, 1), bool)
    nucleus = {**make_bitmap(dot, (1, 1)), "classTitle": "nucleus"}
    folder = write_project(
        tmp_path, ("cell", "nucleus"), a=make_annotation(make_bitmap(dot), nucleus)
    )
    (picture,) = read(folder, "nucleus")
    assert np.argwhere(picture.labels).tolist() == [[1, 1]]
    with pytest.raises(ManifestError, match="expected one class, found 'cell', 'nucleus'"):
        read(folder)
    with pytest.raises(ManifestError, match="has no class 'dog', only 'cell', 'nucleus'"):
        read(folder, "dog")


def zip_bomb() -> dict[str, Any]:
    one = make_bitmap(np.ones((1, 1), bool))
    one["bitmap"]["data"] = base64.b64encode(zlib.compress(bytes(1 << 27))).decode()
    return one


def change_bitmap(**bitmap_values: Any) -> dict[str, Any]:
    one = make_bitmap(np.ones((2, 2), bool))
    one["bitmap"] |= bitmap_values
    return one


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: change_bitmap(data="%%%"), "object 1: data cannot be unpacked"),
        (lambda: change_bitmap(data=encode(b"none")), "object 1: data cannot be unpacked"),
        (lambda: change_bitmap(data=encode(zlib.compress(b"no png"))), "data is not a valid PNG"),
        (
            lambda: change_bitmap(data=encode(zlib.compress(b"x" * 99)[:-6])),
            "object 1: data is cut off",
        ),
        (zip_bomb, "object 1: data is larger than 67108864 bytes"),
        (lambda: change_bitmap(data=7), "data is a whole number, expected text"),
        (lambda: change_bitmap(origin=[0]), "origin is not a pair of whole numbers .x, y."),
        (lambda: change_bitmap(origin=[0, True]), "origin is not a pair of whole numbers .x, y."),
        (lambda: change_bitmap(origin=[7, 0]), r"at \(0, 7\) is not inside the picture \(6, 8\)"),
        (lambda: change_bitmap(origin=[-1, 0]), "is not inside the picture"),
        (lambda: make_bitmap(np.ones((7, 2), bool)), "2 x 7 pixels, larger than the picture"),
        (
            lambda: make_bitmap(np.ones((1, 1), bool), number="x"),
            "number 'x', expected a whole number from 1 to",
        ),
        (
            lambda: make_bitmap(np.ones((1, 1), bool), number=0),
            "number 0, expected a whole number from 1 to",
        ),
        (
            lambda: make_bitmap(np.ones((1, 1), bool), number=2**32),
            "expected a whole number from 1 to 4294967295",
        ),
        (
            lambda: {**change_bitmap(), "tags": [{"name": "number", "value": n} for n in "12"]},
            "has 2 numbers, expected one",
        ),
        (lambda: {**change_bitmap(), "tags": "x"}, "tags is text, expected a list"),
        (lambda: {**change_bitmap(), "classTitle": "dog"}, "class 'dog' is not in meta.json"),
        (lambda: {**change_bitmap(), "geometryType": "point"}, "is a point, expected a bitmap or"),
        (lambda: {"geometryType": "bitmap"}, "object 1: classTitle is missing"),
        (lambda: 3, "object 1: is a whole number, expected an object"),
        (lambda: make_polygon([[1, 2], [3, 4]]), "not an outline: polygon 1 has 2 vertices"),
        (lambda: make_polygon(None), "points are not an outline"),
        (lambda: make_polygon([[0, 0], [1, "x"], [2, 2]]), "points are not an outline"),
        (lambda: make_polygon([[0, 0], [1, float("nan")], [2, 2]]), "NaN or infinite"),
    ],
)
def test_faulty_object_is_reported(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    folder = write_project(tmp_path, a=make_annotation(make()))
    with pytest.raises(ManifestError, match=message) as caught:
        read(folder)
    assert caught.value.problems[0].startswith("ds/ann/a.png.json: object 1: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is a list, expected an object"),
        ({"objects": []}, "size is missing"),
        ({"size": {"height": 5}, "objects": []}, "width is missing"),
        ({"size": {"height": 5, "width": "9"}, "objects": []}, "width is text, expected a whole"),
        (
            make_annotation(shape=(40_000, 40_000)),
            "size 40000 x 40000, expected 1 to 400000000 pixels",
        ),
        (make_annotation(shape=(0, 4)), "size 4 x 0, expected 1 to 400000000 pixels"),
        ({**make_annotation(), "objects": {}}, "objects is an object {...}, expected a list"),
        ({**make_annotation(), "tags": [1]}, "is a whole number, expected an object"),
    ],
)
def test_faulty_annotation_is_reported(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ManifestError, match=f"ds/ann/a.png.json: .*{message}"):
        read(write_project(tmp_path, a=content))


def test_all_faults_are_reported_before_the_first_picture(tmp_path: Path) -> None:
    bad = make_annotation(change_bitmap(data="%"), change_bitmap(origin=[9, 9]))
    with pytest.raises(ManifestError) as caught:
        read(write_project(tmp_path, a=make_annotation(), b=bad, c="{"))
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        ["ds/ann/b.png.json", "object 1"],
        ["ds/ann/b.png.json", "object 2"],
        ["ds/ann/c.png.json", "is not valid JSON"],
    ]


def test_image_of_another_size_and_damaged_image_are_refused(tmp_path: Path) -> None:
    folder = write_project(tmp_path, a=make_annotation(), b=make_annotation())
    (folder / "ds/img").mkdir()
    Image.new("L", (5, 5)).save(folder / "ds/img/a.png")
    (folder / "ds/img/b.png").write_bytes(b"no picture")
    with pytest.raises(ManifestError, match=r"a.png.json: size \(Y, X\) is \(6, 8\), but .*5, 5"):
        read(folder)
    with pytest.raises(ManifestError, match="b.png.json: b.png is not a readable image"):
        read(folder)


def test_two_pictures_with_the_same_name_are_refused(tmp_path: Path) -> None:
    folder = write_project(tmp_path, a=make_annotation())
    (folder / "more/ann").mkdir(parents=True)
    (folder / "more/ann/a.png.json").write_text(json.dumps(make_annotation()))
    with pytest.raises(ManifestError, match=r"more/ann/a.png.json: is a second picture 'a', after"):
        read(folder)


def test_new_objects_need_numbers_after_the_largest(tmp_path: Path) -> None:
    dot = np.ones((1, 1), bool)
    with pytest.raises(
        ManifestError, match="object number 4294967295 leaves no numbers for 1 new objects"
    ):
        read_single(tmp_path, make_bitmap(dot), make_bitmap(dot, number=str(2**32 - 1)))


@pytest.mark.parametrize("meta", ["", "{}", '{"classes": 3}', '{"classes": [{}]}'])
def test_faulty_meta_is_reported(tmp_path: Path, meta: str) -> None:
    folder = write_project(tmp_path)
    (folder / "meta.json").write_text(meta)
    with pytest.raises(ManifestError, match="meta.json: "):
        read(folder)


def test_picture_without_image_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a: has no image to draw on"):
        write(tmp_path, [Picture("a", np.zeros(SHAPE, np.uint32))])
