from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytoloop.errors import ImageError
from cytoloop.truth.regions import read_polygons, read_region, write_polygons_npy

SQUARE = np.array([[2.0, 2], [2, 9], [9, 9], [9, 2]])
TRIANGLE = np.array([[12.5, 20], [12, 26], [18, 26]])


def objects(*items: Any) -> np.ndarray:
    array = np.empty(len(items), object)
    for number, item in enumerate(items):
        array[number] = item
    return array


def save_pickle(path: Path, content: bytes, shape: tuple[int, ...] = (1,)) -> Path:
    """Write an ``.npy`` of objects whose pickle is `content`."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": shape}
        )
        file.write(content)
    return path


def outlines(path: Path) -> list[np.ndarray]:
    return [polygon.exterior for polygon in read_polygons(path)]


@pytest.mark.parametrize(
    "value",
    [
        objects(SQUARE, TRIANGLE),
        objects(SQUARE.astype(">f4"), np.asfortranarray(TRIANGLE)),
        objects(SQUARE.tolist(), [tuple(v) for v in TRIANGLE]),
        objects([list(v) for v in SQUARE], TRIANGLE.astype(object)),  # NumPy scalars
        objects(list(SQUARE), list(TRIANGLE)),  # lists of arrays
        objects(*(np.insert(p, 0, 3, axis=1) for p in (SQUARE, TRIANGLE))),  # z, y, x
    ],
)
def test_pickled_polygons_are_read(tmp_path: Path, value: np.ndarray) -> None:
    np.save(tmp_path / "p.npy", value, allow_pickle=True)
    found = outlines(tmp_path / "p.npy")
    assert len(found) == 2
    for ours, theirs in zip(found, (SQUARE, TRIANGLE), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [float, np.int16, np.float16, object])
def test_equal_lengths_one_polygon_and_three_columns_are_read(tmp_path: Path, kind: type) -> None:
    for value in (SQUARE, SQUARE[None], np.insert(SQUARE, 0, 3, axis=1)):
        np.save(tmp_path / "p.npy", value.astype(kind), allow_pickle=True)
        (found,) = outlines(tmp_path / "p.npy")
        np.testing.assert_array_equal(found, SQUARE)


@pytest.mark.parametrize("value", [[], np.zeros((0, 4, 2)), np.array([], object)])
def test_no_polygon_gives_an_empty_region(tmp_path: Path, value: Any) -> None:
    np.save(tmp_path / "p.npy", value, allow_pickle=True)
    assert not read_region(tmp_path / "p.npy", (5, 20, 30)).any()


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_numpy_1_and_2_are_read(tmp_path: Path, module: str, protocol: int) -> None:
    content = pickle.dumps(objects(SQUARE, TRIANGLE), protocol=protocol)
    if protocol < 4:  # from protocol 4 on, names are written with their length
        own = objects(0).__reduce__()[0].__module__
        content = content.replace(own.encode(), module.encode())
    path = save_pickle(tmp_path / "p.npy", content, (2,))
    if protocol == 2:  # protocol 2 writes bytes as text; NumPy on Python 3 writes no such file
        with pytest.raises(ImageError, match="_codecs.encode"):
            read_polygons(path)
    else:
        np.testing.assert_array_equal(outlines(path)[1], TRIANGLE)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("function", ["os.system", "numpy.save", "numpy.load", "builtins.eval"])
def test_a_pickle_that_calls_a_function_is_refused(
    tmp_path: Path, function: str, wrapped: bool
) -> None:
    target = tmp_path / "made.npy"
    call = {
        "os.system": Call(os.system, f"touch {target}"),
        "numpy.save": Call(np.save, str(target), 1),
        "numpy.load": Call(np.load, str(target)),
        "builtins.eval": Call(eval, f"open({str(target)!r}, 'w')"),
    }[function]
    content = pickle.dumps(objects(SQUARE, call) if wrapped else call, protocol=4)
    path = save_pickle(tmp_path / "p.npy", content, (2,))
    with pytest.raises(ImageError, match=r"it calls (posix|nt|numpy|builtins)") as caught:
        read_region(path, (20, 30))
    assert "Expected what np.save" in caught.value.repair and not target.exists()


def forged(shape: tuple, content: Any, code: str = "O") -> bytes:
    """Return the pickle of an array with a forged shape."""
    multiarray = objects(0).__reduce__()[0]
    state = (1, shape, np.dtype(code), False, content)

    class Array:
        def __reduce__(self) -> Any:
            return multiarray, (np.ndarray, (10**12,), b"b"), state

    return pickle.dumps(Array(), protocol=4)


@pytest.mark.parametrize(
    "content",
    [
        forged((10**9, 2), [1.0]),  # NumPy would read past the list
        forged((10**9, 2), b"abc", "f8"),
        forged((4, 2), b"abcd", "O"),
        forged((1,), ["text"]),
        forged((1,), b"\0" * 8, "M8[s]"),
        pickle.dumps([[1, 2], [3, 4], [5, 6]]),
        pickle.dumps(objects(SQUARE))[:-20],
        b"",
    ],
)
def test_forged_and_broken_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ImageError, match=r"p.npy: (holds no readable polygons|polygon 1 is)"):
        read_polygons(save_pickle(tmp_path / "p.npy", content))


def test_a_few_bytes_never_claim_all_memory(tmp_path: Path) -> None:
    for claim, reason in (
        (b"\x80\x04Nr\xff\xff\xff\xff.", "it claims more memory"),  # a memo of 4 billion entries
        (b"\x80\x04Np4000000000\n.", "it claims more memory"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", "it is broken"),  # bytearray
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b".", "it is broken"),  # bytes
        (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.", "pickle data was trunc"),  # frame
    ):
        with pytest.raises(ImageError, match=f"holds no readable polygons: {reason}"):
            read_polygons(save_pickle(tmp_path / "p.npy", claim))
    lists = [1.0, 1.0]
    for _ in range(60):  # 60 lists that share their parts: 3 ** 60 numbers
        lists = [lists, lists, lists]
    content = pickle.dumps(objects(lists), protocol=4)
    with pytest.raises(ImageError, match="polygon 1 is list"):
        read_polygons(save_pickle(tmp_path / "p.npy", content))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4, 2)}
    )
    (tmp_path / "p.npy").write_bytes(header.getvalue())
    with pytest.raises(ImageError, match="holds no readable polygons"):
        read_polygons(tmp_path / "p.npy")


@pytest.mark.parametrize(
    "value, reason",
    [
        (np.where(SQUARE > 5, np.nan, SQUARE), "polygon 1 has vertices that are NaN"),
        (SQUARE * 1e7, "polygon 1 lies more than 1000000 pixels away"),
        (objects(SQUARE, SQUARE[:2]), "polygon 2 has 2 vertices, expected 3 or more"),
        (objects(SQUARE, SQUARE[:, :1]), "polygon 2 is an array .4, 1., not a list of positions"),
        (objects(SQUARE, [[10**400, 1]] * 3), "polygon 2 is list"),
        (np.zeros((2, 2, 2, 2)), "polygon 1 is an array"),
        (np.array(3.0), "holds float, not polygons"),
        (np.array(["a", "b"]), "polygon 1 is str_"),
        (np.zeros((2000, 4, 2)), "too many vertices"),
        (np.zeros((300, 4, 2)), "more than 1000 vertices"),
    ],
)
def test_polygons_that_cannot_be_filled_are_listed(
    tmp_path: Path, value: np.ndarray, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytoloop.truth.regions.parse._MAX_VERTICES", 1000)
    np.save(tmp_path / "p.npy", value, allow_pickle=True)
    with pytest.raises(ImageError, match=reason):
        read_polygons(tmp_path / "p.npy")


def test_all_invalid_polygons_are_listed_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", objects(SQUARE[:1], SQUARE, SQUARE[:2]), allow_pickle=True)
    with pytest.raises(ImageError, match=r"2 problems\n.*polygon 1 .*\n.*polygon 3 "):
        read_polygons(tmp_path / "p.npy")
    (tmp_path / "p.npy").write_bytes(b"no numpy file")
    with pytest.raises(ImageError, match="holds no readable polygons"):
        read_polygons(tmp_path / "p.npy")
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY\x03\x00 ")
    with pytest.raises(ImageError, match="unknown .npy version"):
        read_polygons(tmp_path / "p.npy")


def test_written_files_equal_those_of_the_plugin(tmp_path: Path) -> None:
    for polygons in (
        [SQUARE, TRIANGLE],
        [SQUARE, SQUARE + 1],
    ):  # polygons of equal length also stay an object array
        write_polygons_npy(tmp_path / "p.npy", polygons)
        loaded = np.load(tmp_path / "p.npy", allow_pickle=True)
        assert loaded.dtype == object and loaded.shape == (2,)
        assert all(p.dtype == np.float64 and p.shape[1] == 2 for p in loaded)
        np.testing.assert_array_equal(outlines(tmp_path / "p.npy")[1], polygons[1])
    assert [p.name for p in tmp_path.iterdir()] == ["p.npy"]
    with pytest.raises(ImageError, match="no polygon to write, and CytoDL cannot read"):
        write_polygons_npy(tmp_path / "p.npy", [])
    with pytest.raises(ImageError, match="polygon 1 has 2 vertices"):
        write_polygons_npy(tmp_path / "p.npy", [SQUARE[:2]])
