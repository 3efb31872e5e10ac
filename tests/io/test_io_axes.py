"""Axes: what a file states, what the user states, what is guessed, what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from cytoloop.errors import ImageError
from cytoloop.io.axes import name_axes
from cytoloop.io.labels import read_labels
from cytoloop.io.notes import collect_notes
from cytoloop.io.pixels import open_pixels
from cytoloop.io.read import read_header, read_image

SIZES = {"T": 2, "C": 3, "Z": 5, "Y": 6, "X": 7}
OTHERS = ["".join(p) for n in range(4) for p in itertools.permutations("TCZ", n)]
ORDERS = [f"{before}YX" for before in OTHERS] + ["YXC", "ZYXC", "TYXC", "XYZ", "YXZ", "CXYZ"]


def expected(data: np.ndarray, axes: str) -> np.ndarray:
    """Return the pixels in the order T, C, Z, Y, X."""
    order = [axis for axis in "TCZYX" if axis not in axes] + list(axes)
    full = data.reshape((1,) * (5 - data.ndim) + data.shape)
    return full.transpose([order.index(axis) for axis in "TCZYX"])


def write(path: Path, data: np.ndarray, axes: str) -> Path:
    """Write pixels with their axes stated, as the ending asks for."""
    if path.name.endswith(".zarr"):
        group = zarr.open_group(path, mode="w", zarr_format=2)
        group.create_array("0", data=data, chunks=data.shape)
        kinds = {"T": "time", "C": "channel"}
        group.attrs["multiscales"] = [
            {
                "version": "0.4",
                "axes": [{"name": a.lower(), "type": kinds.get(a, "space")} for a in axes],
                "datasets": [{"path": "0"}],
            }
        ]
    elif path.name.endswith(".h5"):
        with h5py.File(path, "w") as file:
            file["data"] = data
            tags = ",".join(f'{{"key": "{a.lower()}"}}' for a in axes)
            file["data"].attrs["axistags"] = f'{{"axes": [{tags}]}}'
    elif path.name.endswith(".ome.tif"):
        tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": axes})
    else:
        tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": axes})
    return path


def check(path: Path, data: np.ndarray, axes: str, requested: str | None = None) -> None:
    """Read each time point at once and box by box, and compare with the pixels written."""
    wanted = expected(data, axes)
    assert read_header(path, axes=requested).shape == wanted.shape
    for time in range(wanted.shape[0]):
        of_time = wanted[time][:, 0] if wanted.shape[2] == 1 else wanted[time]
        found = read_image(path, time=time, axes=requested).data
        np.testing.assert_array_equal(found, of_time)
        pixels = open_pixels(path, [wanted.shape[1] - 1], time=time, in_memory=0, axes=requested)
        box = tuple(slice(1, n - 1) for n in pixels.shape)
        np.testing.assert_array_equal(pixels.read(box), of_time[-1:][(slice(None), *box)])


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".zarr", ".h5"])
def test_stated_axes_are_read_in_any_order(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    for number, axes in enumerate(ORDERS):
        if ending == ".ome.tif" and not axes.endswith("YX"):
            continue  # the schema of OME stores planes
        if ending in (".tif", ".ome.tif") and not axes.endswith(("YX", "YXC")):
            continue  # tifffile stores planes
        data = rng.integers(1, 999, [SIZES[a] for a in axes], np.uint16)
        if ending == ".tif" and axes.endswith("YXC"):
            continue  # written as pages of 3 columns: the next test
        check(write(tmp_path / f"{number}{ending}", data, axes), data, axes)


@pytest.mark.parametrize("ending", [".tif", ".zarr", ".h5"])
def test_axes_that_the_user_states_count(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(1)
    for number, axes in enumerate(ORDERS):
        data = rng.integers(1, 999, [SIZES[a] for a in axes], np.uint16)
        path = tmp_path / f"{number}{ending}"
        if ending == ".tif":
            tifffile.imwrite(path, data, photometric="minisblack")
        elif ending == ".h5":
            with h5py.File(path, "w") as file:
                file["data"] = data
        else:
            zarr.create_array(path, data=data, chunks=data.shape)
        check(path, data, axes, requested=axes)


def test_axes_of_length_one_may_be_left_out() -> None:
    assert name_axes("a", (1, 5, 1, 6, 7), "QQQYX", "TYX") == "-T-YX"
    assert name_axes("a", (2, 3, 6, 7), "HCYX", "CCYX") == "CCYX"


def test_unnamed_axes_that_repeat_become_one_axis(tmp_path: Path) -> None:
    data = np.arange(2 * 3 * 6 * 7, dtype=np.uint16).reshape(2, 3, 6, 7)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    image = read_image(tmp_path / "a.tif", axes="CCYX")
    np.testing.assert_array_equal(image.data, data.reshape(6, 6, 7))
    assert read_header(tmp_path / "a.tif", axes="TTYX").shape == (6, 1, 1, 6, 7)


@pytest.mark.parametrize(
    "shape, stated, problem",
    [
        ((3, 60, 70), "QYX", r"3 planes may be channels.*\n.*axes=CYX or axes=TYX or axes=ZYX"),
        ((2, 60, 70), "QYX", "2 planes may be channels"),
        ((60, 70, 2), "QYX", r"2 pixels wide may be channels.*\n.*axes=YXC"),
        ((60, 70, 4), "QYX", "4 pixels wide"),
        ((4, 5, 60, 70), "QQYX", r"unknown meaning: Q \(4\), Q \(5\).*\?=4, \?=5, Y=60, X=70"),
        ((32, 5, 60, 70), "HZYX", r"unknown meaning: H \(32\)"),
        ((5, 60, 70), "VYX", r"unknown meaning: V \(5\)"),
        ((5, 60), "CX", "no two axes Y and X"),
    ],
)
def test_axes_without_a_meaning_are_refused_with_the_choices(
    shape: tuple[int, ...], stated: str, problem: str
) -> None:
    with pytest.raises(ImageError, match=f"(?s){problem}"):
        name_axes("a.tif", shape, stated)


@pytest.mark.parametrize("axes", ["YX", "TYY", "ABYX", "TCYX", "ZZYX"])
def test_axes_that_do_not_fit_are_refused(axes: str) -> None:
    with pytest.raises(ImageError, match=f"axes={axes}"):
        name_axes("a.tif", (5, 60, 70), "QYX", axes)


def test_guess_is_noted_and_axes_of_raw_count_where_the_file_states_none() -> None:
    with collect_notes() as notes:
        assert name_axes("a.tif", (5, 60, 70), "QYX") == "ZYX"
    assert "5 planes (5 x 60 x 70) are read as a z-stack. Set axes=TYX" in notes[0]
    with collect_notes() as notes:
        assert name_axes("a.tif", (5, 60, 70), "QYX", "TYX?") == "TYX"
        assert name_axes("a.tif", (5, 60, 70), "QYX", "TCYX?") == "TYX"
        assert name_axes("a.tif", (5, 60, 70), "ZYX", "TYX?") == "ZYX"
    assert not notes


def test_what_a_file_has_several_of_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = np.zeros((2, 3, 16, 16), np.uint8)
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": "TCYX"})
    with pytest.raises(ImageError, match="has 2 time points, expected one"):
        read_image(path)
    with pytest.raises(ImageError, match="has 3 channels.*expected one"):
        read_labels(path, time=0)
    rgb = tmp_path / "rgb.tif"
    tifffile.imwrite(rgb, np.zeros((16, 16, 3), np.uint8), photometric="rgb")
    with pytest.raises(ImageError, match="3 channels .*the samples of a colour; expected one"):
        read_labels(rgb)
    two = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(two, ome=True) as writer:
        for _ in range(2):
            writer.write(np.zeros((16, 16), np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match="has 2 scenes .*expected one"):
        read_image(two)
    assert read_header(two).scenes == ("Image:0", "Image:1")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16), np.complex64))
    with pytest.raises(ImageError, match="holds complex64"):
        read_header(tmp_path / "a.tif")


def test_usual_meanings_of_two_unnamed_axes_are_offered() -> None:
    with pytest.raises(ImageError, match="axes=TZYX or axes=ZCYX or axes=CZYX or axes=TCYX"):
        name_axes("a.tif", (4, 5, 60, 70), "QQYX")
