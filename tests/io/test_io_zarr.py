"""OME-Zarr of bioformats2raw, of plates and in zips; versions 0.4 and 0.5 written."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cytoloop.errors import ImageError
from cytoloop.io.labels import read_labels
from cytoloop.io.listing import list_images
from cytoloop.io.names import stem
from cytoloop.io.pixels import level_spacings, open_pixels
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.zarr import write_zarr

RNG = np.random.default_rng(0)
VERSIONS = ["0.4", "0.5"]


def write_group(path: Path, version: str, metadata: dict[str, Any]) -> None:
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    if version == "0.4":
        group.attrs.update(metadata)
    else:
        group.attrs["ome"] = {"version": version, **metadata}


def write_images(path: Path, version: str, names: list[str]) -> dict[str, np.ndarray]:
    """Write images of two channels into groups of a store; return their pixels."""
    pixels = {name: RNG.integers(1, 99, (2, 3, 20, 30), np.uint8) for name in names}
    for name, data in pixels.items():
        write_zarr(
            path / name, data, "CZYX", (2.0, 0.5, 0.5), channels=["DNA", "actin"], version=version
        )
    return pixels


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("lists_series", [False, True])
def test_series_of_bioformats2raw_are_scenes(
    tmp_path: Path, version: str, lists_series: bool
) -> None:
    path = tmp_path / "a.ome.zarr"
    write_group(path, version, {"bioformats2raw.layout": 3})
    if lists_series:
        write_group(path / "OME", version, {"series": ["0", "1"]})
    pixels = write_images(path, version, ["0", "1"])
    header = read_header(path)
    assert header.scenes == ("0", "1") and header.channels == ("DNA", "actin")
    assert header.spacing_um == (2.0, 0.5, 0.5)
    for name, data in pixels.items():
        np.testing.assert_array_equal(read_image(path, scene=name).data, data)
    shutil.rmtree(path / "1")
    if not lists_series:
        np.testing.assert_array_equal(read_image(path).data, pixels["0"])


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_of_a_plate_are_scenes_and_labels_are_found(tmp_path: Path, version: str) -> None:
    path = tmp_path / "plate.ome.zarr"
    wells = ["A/1", "B/12"]
    write_group(path, version, {"plate": {"wells": [{"path": well} for well in wells]}})
    for well in wells:
        fields = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        write_group(path / well, version, fields)
    names = [f"{well}/{field}" for well in wells for field in (0, 1)]
    pixels = write_images(path, version, names)
    assert read_header(path).scenes == tuple(names)
    np.testing.assert_array_equal(read_image(path, scene="B/12/1").data, pixels["B/12/1"])
    assert read_header(path / "A" / "1").scenes == ("0", "1")
    labels = pixels["A/1/0"][0] % 5
    write_zarr(path / "A/1/0/labels/nuclei", labels, "ZYX", (2.0, 0.5, 0.5), version=version)
    np.testing.assert_array_equal(read_labels(path, scene="A/1/0/labels/nuclei"), labels)


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_of_an_image_are_read_by_folder_pattern_and_scene(
    tmp_path: Path, version: str
) -> None:
    labels = {}
    for name in ("a", "b"):
        path = tmp_path / f"{name}.ome.zarr"
        write_zarr(path, np.zeros((3, 20, 30), np.uint8), "ZYX", version=version)
        labels[name] = RNG.integers(0, 9, (3, 20, 30), np.uint16)
        write_zarr(path / "labels" / "nuclei", labels[name], "ZYX", version=version)
        write_group(path / "labels", version, {"labels": ["nuclei"]})
        for place, scene in (
            (path / "labels" / "nuclei", None),
            (path / "labels", None),
            (path, "labels/nuclei"),
        ):
            np.testing.assert_array_equal(read_labels(place, scene=scene), labels[name])
        with pytest.raises(ImageError, match="has no scene 'labels/cells'"):
            read_labels(path, scene="labels/cells")
    found = list_images(f"{tmp_path}/*.ome.zarr/labels/nuclei")
    assert [stem(path) for path in found] == ["a", "b"]


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_zipped_stores_are_read(tmp_path: Path, version: str, folder: bool) -> None:
    path = tmp_path / "a.ome.zarr"
    pixels = RNG.integers(1, 99, (3, 20, 30), np.uint8)
    write_zarr(path, pixels, "ZYX", (2.0, 0.5, 0.5), version=version)
    zipped = shutil.make_archive(
        str(path), "zip", tmp_path if folder else path, path.name if folder else None
    )
    assert [found.name for found in list_images(zipped)] == ["a.ome.zarr.zip"]
    image = read_image(zipped)
    np.testing.assert_array_equal(image.data[0], pixels)
    assert image.spacing_um == (2.0, 0.5, 0.5) and stem(zipped) == "a"


@pytest.mark.parametrize("version", VERSIONS)
def test_written_pyramid_states_sizes_channels_and_origin(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.ome.zarr"
    data = RNG.integers(0, 99, (2, 2, 600, 40), np.uint16)
    write_zarr(
        path, data, "CZYX", (2.0, 0.5, 0.25), channels=["a", "b"], origin_um=(4.0, -1.0, 3.0),
        version=version,
    )  # fmt: skip
    name = ".zattrs" if version == "0.4" else "zarr.json"
    text = json.loads((path / name).read_text())
    stated = text if version == "0.4" else text["attributes"]["ome"]
    assert stated["multiscales"][0].get("version", stated.get("version")) == version
    assert level_spacings(path) == [(2.0, 0.5, 0.25), (2.0, 1.0, 0.25)]
    pixels = open_pixels(path, level=1)
    assert pixels.origin_um == (4.0, -1.0, 3.0) and pixels.channels == ("a", "b")
    everything = (slice(None),) * 3
    np.testing.assert_array_equal(pixels.read(everything), data[:, :, ::2])


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(ImageError, match="holds no image: no multiscales"):
        read_image(tmp_path / "a.zarr")


def test_store_that_declares_more_than_the_memory_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", shape=(10**5, 10**6, 10**6), chunks=(1, 64, 64), dtype="u2")
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": [{"name": a} for a in "zyx"], "datasets": [{"path": "0"}]}
    ]
    assert read_header(path).shape == (1, 1, 10**5, 10**6, 10**6)
    with pytest.raises(ImageError, match=r"declares 186264514\.9 GiB of pixels"):
        read_image(path)


class _Deep:
    """A wide stack whose voxels are the number of their plane; notes how much is read at once."""

    shape, dtype = (64, 1100, 1100), np.dtype(np.uint8)

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        size = [s.stop - s.start for s in box]
        self.read.append(math.prod(size))
        planes = np.arange(box[0].start, box[0].stop, dtype=np.uint8)
        return np.broadcast_to(planes[:, None, None], size)


def test_a_wide_stack_is_written_in_small_parts(tmp_path: Path) -> None:
    deep = _Deep()
    write_zarr(tmp_path / "a.ome.zarr", deep, "ZYX")
    assert max(deep.read) <= 2**25
    assert sum(deep.read) == math.prod(deep.shape)
    written = read_image(tmp_path / "a.ome.zarr").data[0]
    assert written.shape == deep.shape
    assert (written == np.arange(64, dtype=np.uint8)[:, None, None]).all()
