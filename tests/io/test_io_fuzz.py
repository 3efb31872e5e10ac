"""Damaged and hostile files end in a picture or in one clear error, soon."""

from __future__ import annotations

import io
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from cytoloop.errors import ImageError
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr

DATA = np.random.default_rng(0).integers(0, 999, (4, 24, 20), np.uint16)
PER_FORMAT = 50


def write_plain(path: Path) -> None:
    tifffile.imwrite(path, DATA, photometric="minisblack", rowsperstrip=8)


def write_imagej(path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(path, DATA, imagej=True, resolution=(2, 2), metadata=metadata)


def write_tiled(path: Path) -> None:
    tifffile.imwrite(path, DATA, photometric="minisblack", tile=(16, 16), compression="lzw")


def write_ome(path: Path) -> None:
    write_image(path, DATA, "ZYX", (2.0, 0.5, 0.5))


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=DATA, chunks=(2, 8, 8), compression="gzip")


def write_zip(path: Path) -> None:
    store = path.with_name("store.zarr")
    write_zarr(store, DATA, "ZYX", (2.0, 0.5, 0.5))
    shutil.make_archive(str(path.with_suffix("")), "zip", store)
    shutil.rmtree(store)


def write_picture(path: Path) -> None:
    Pillow.fromarray((DATA[0] // 4).astype(np.uint8)).save(path)


def write_cellpose(path: Path) -> None:
    np.save(path, {"masks": DATA[0], "filename": "a.tif"}, allow_pickle=True)  # type: ignore[arg-type]


def write_nifti(path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(DATA.T, np.eye(4)), path)


def write_nrrd(path: Path) -> None:
    pytest.importorskip("nrrd").write(str(path), DATA.T)


def write_mrc(path: Path) -> None:
    with pytest.importorskip("mrcfile").new(path) as file:
        file.set_data(DATA)


FORMATS: dict[str, Callable[[Path], None]] = {
    "plain.tif": write_plain,
    "imagej.tif": write_imagej,
    "tiled.tif": write_tiled,
    "a.ome.tif": write_ome,
    "a.h5": write_hdf5,
    "a.zarr.zip": write_zip,
    "a.png": write_picture,
    "a.jpg": write_picture,
    "a_seg.npy": write_cellpose,
    "a.nii": write_nifti,
    "a.nrrd": write_nrrd,
    "a.mrc": write_mrc,
}


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with a few bytes changed, or cut, or with a part doubled."""
    kind = rng.integers(4)
    data = bytearray(content)
    if kind == 0:
        return bytes(data[: rng.integers(1, len(data))])
    if kind == 1:
        start, length = rng.integers(len(data)), rng.integers(1, 64)
        return bytes(data[:start] + data[start : start + length] * 3 + data[start:])
    # headers are short: half of the changes are near the beginning
    end = len(data) if kind == 2 else min(len(data), 512)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(end)] = rng.choice([0, 1, 0x7F, 0xFF, rng.integers(256)])
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_end_in_a_picture_or_one_error(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(read_header(tmp_path / name).shape[-2:], (24, 20))
    rng = np.random.default_rng(1)
    for number in range(PER_FORMAT):
        path = tmp_path / f"{number}_{name}"
        path.write_bytes(mutate(whole, rng))
        started = time.perf_counter()
        try:
            header = read_header(path)
            read_image(path, scene=header.scenes[0], time=0)
        except ImageError as error:
            text = str(error)
            assert str(path) in text and len(text) < 2000 and "Traceback" not in text
        assert time.perf_counter() - started < 10
        path.unlink()


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds no pixels."""
    found = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    found.seek(0, 2)
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        found.write(struct.pack(">I", len(content)) + kind + content)
        found.write(struct.pack(">I", zlib.crc32(kind + content)))
    return found.getvalue()


def test_pictures_larger_than_the_memory_are_refused_before_they_are_allocated(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(png_of(2**30, 2**20))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", (10**6, 10**6, 10**6), "u1", chunks=(1, 64, 64))
    tile = b"x" * 64
    for name, options in (("strips.tif", {"rowsperstrip": 8}), ("tiles.tif", {"tile": (16, 16)})):
        tifffile.imwrite(tmp_path / name, DATA[0], compression="zlib", metadata=None, **options)
        content = bytearray((tmp_path / name).read_bytes())
        with tifffile.TiffFile(tmp_path / name) as file:
            for tag in ("ImageWidth", "ImageLength"):
                offset = file.pages[0].tags[tag].valueoffset
                code = file.pages[0].tags[tag].offset + 2
                content[code : code + 2] = struct.pack("<H", 4)
                content[offset : offset + 4] = struct.pack("<I", 2_000_000)
        (tmp_path / name).write_bytes(bytes(content) + tile)
    for name in ("a.png", "a.h5", "strips.tif", "tiles.tif"):
        started = time.perf_counter()
        with pytest.raises(ImageError):
            read_image(tmp_path / name)
        assert time.perf_counter() - started < 5
    with pytest.raises(ImageError, match=r"declares .* GiB of pixels"):
        read_image(tmp_path / "a.h5")
