"""Read HDF5, OME-Zarr and CZI; write OME-TIFF and OME-Zarr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from cytoloop.__main__ import main
from cytoloop.errors import ImageError
from cytoloop.io.labels import read_labels
from cytoloop.io.listing import list_images
from cytoloop.io.pixels import level_spacings, open_pixels
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr
from cytoloop.manifest import read_manifest
from cytoloop.truth.targets import read_target

STACK = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6)  # T C Z Y X


@pytest.fixture
def h5(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes an HDF5 file: ``h5(name=array or (array, attributes), ...) -> path``."""

    def write(**members: Any) -> Path:
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            for name, member in members.items():
                data, attributes = member if isinstance(member, tuple) else (member, {})
                file[name.replace("__", "/")] = data
                file[name.replace("__", "/")].attrs.update(attributes)
        return path

    return write


def tags(axes: str) -> str:
    """Return the attribute ``axistags`` as ilastik writes it."""
    return json.dumps({"axes": [{"key": key, "typeFlags": 1} for key in axes]})


@pytest.mark.parametrize(
    "data, shape",
    [
        (STACK[0, 0, 0], (1, 1, 1, 5, 6)),
        (STACK[0, 0], (1, 1, 4, 5, 6)),
        (STACK[0], (1, 3, 4, 5, 6)),
        (STACK, (2, 3, 4, 5, 6)),
    ],
)
def test_hdf5_axes_depend_on_the_number_of_axes(
    h5: Callable[..., Path], data: np.ndarray, shape: tuple[int, ...]
) -> None:
    path = h5(exported__data=data)
    header = read_header(path)
    assert header.shape == shape and header.dtype == "uint16"
    assert header.scenes == ("exported/data",) and header.spacing_um is None
    np.testing.assert_array_equal(
        read_image(path, time=0).data,
        STACK[0, : shape[1], : shape[2]].squeeze(1 if shape[2] == 1 else ()),
    )


def test_hdf5_time_point_and_channels_are_selected(h5: Callable[..., Path]) -> None:
    path = h5(data=STACK)
    np.testing.assert_array_equal(read_image(path, time=1).data, STACK[1])
    np.testing.assert_array_equal(read_image(path, channel=[2, 0], time=1).data, STACK[1, [2, 0]])
    with pytest.raises(ImageError, match="has no time point 2"):
        read_image(path, time=2)


def test_only_the_requested_part_of_hdf5_is_read(
    h5: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, parts = h5(data=STACK), []
    from cytoloop.io.readers import hdf5

    read = hdf5._LazyArray.__getitem__
    monkeypatch.setattr(
        hdf5._LazyArray, "__getitem__", lambda self, part: parts.append(part) or read(self, part)
    )
    read_image(path, channel=1, time=1)
    assert [part[:2] for part in parts] == [(1, 1)]


def test_hdf5_axes_follow_ilastiks_axistags(h5: Callable[..., Path]) -> None:
    path = h5(data=(np.moveaxis(STACK[0], 0, -1), {"axistags": tags("zyxc")}))
    np.testing.assert_array_equal(read_image(path).data, STACK[0])
    path = h5(data=(STACK[0, :, 0], {"axistags": tags("cyx")}))
    np.testing.assert_array_equal(read_image(path).data, STACK[0, :, 0])


@pytest.mark.parametrize("text", ["", "{}", tags("zyx"), tags("zzyx"), tags("czyq"), tags("tczq")])
def test_invalid_axistags_are_refused(h5: Callable[..., Path], text: str) -> None:
    with pytest.raises(ImageError, match=r"a.h5, data set 'data': axistags are .* \(3, 4, 5, 6\)"):
        read_header(h5(data=(STACK[0], {"axistags": text})))


@pytest.mark.parametrize(
    "ndim, stated, spacing",
    [
        (3, [0.5, 0.2, 0.1], (0.5, 0.2, 0.1)),
        (2, [0.2, 0.1], (1.0, 0.2, 0.1)),
        (2, [0.5, 0.2, 0.1], (0.5, 0.2, 0.1)),
        (3, [0.2, 0.1], None),
        (3, [0.5, 0.0, 0.1], None),
        (3, [0.5, np.nan, 0.1], None),
        (3, 0.5, None),
    ],
)
def test_voxel_size_of_hdf5(
    h5: Callable[..., Path], ndim: int, stated: Any, spacing: tuple[float, ...] | None
) -> None:
    data = STACK[0, 0] if ndim == 3 else STACK[0, 0, 0]
    header = read_header(h5(data=(data, {"element_size_um": stated})))
    assert header.spacing_um == (pytest.approx(spacing) if spacing else None)


def test_image_data_sets_of_hdf5_are_scenes(h5: Callable[..., Path]) -> None:
    members = {"note": np.arange(4), "text": np.array([[b"a"]]), "none": np.zeros((0, 3))}
    path = h5(raw=STACK[0, 0], label=STACK[0, 0] % 3, **members)
    assert read_header(path).scenes == ("label", "raw")
    for scene in ("raw", 1):
        np.testing.assert_array_equal(read_image(path, scene=scene).data[0], STACK[0, 0])
    assert read_labels(path, scene="label").max() == 2
    with pytest.raises(ImageError, match=r"has no scene 'seg'\nIts scenes are label, raw"):
        read_image(path, scene="seg")
    with pytest.raises(ImageError, match="holds no image: no data set of numbers"):
        read_header(h5(**members))


def test_hdf5_links_to_other_files_are_not_followed(
    tmp_path: Path, h5: Callable[..., Path]
) -> None:
    secret = h5(data=STACK[0, 0]).rename(tmp_path / "secret.h5")
    (tmp_path / "raw.bin").write_bytes(bytes(200))
    layout = h5py.VirtualLayout((4, 5, 6), "u2")
    layout[:] = h5py.VirtualSource(secret, "data", (4, 5, 6))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(secret), "/data")
        file.create_virtual_dataset("virtual", layout)
        outside = [(str(tmp_path / "raw.bin"), 0, 200)]
        file.create_dataset("external", (10, 10), "u2", external=outside)
    with pytest.raises(ImageError, match="links to other files are not followed"):
        read_header(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["own"] = STACK[0, 0]
    assert read_header(tmp_path / "a.h5").scenes == ("own",)
    for name in ("link", "virtual", "external"):
        with pytest.raises(ImageError, match=f"has no scene '{name}'"):
            read_image(tmp_path / "a.h5", scene=name)


def test_hdf5_files_are_listed_and_a_broken_file_is_named(tmp_path: Path) -> None:
    for name in ("a.h5", "b.HDF5", "project.ilp"):
        (tmp_path / name).write_bytes(b"rubbish")
    assert [p.name for p in list_images(tmp_path)] == ["a.h5", "b.HDF5"]
    with pytest.raises(ImageError, match="a.h5: cannot be read"):
        read_header(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "suffix, package", [(".nd2", r"cytoloop\[nd2\]"), (".lif", r"cytoloop\[lif\]")]
)
def test_error_for_a_missing_reader_names_its_package(
    tmp_path: Path, suffix: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(
        ImageError, match=f"needs a package .*\nInstall it: pip install '{package}'"
    ):
        read_image(tmp_path / f"a{suffix}")


def ome_zarr(folder: Path, levels: list[np.ndarray], axes: str, version: str) -> Path:
    """Write an OME-Zarr with these pyramid levels, without bioio's writer."""
    sizes = {"z": 2.0, "y": 0.5, "x": 0.25}
    kinds = {"t": "time", "c": "channel"}
    multiscale = {
        "name": "cells",
        "axes": [
            {"name": a, "type": kinds.get(a, "space")}
            | ({"unit": "micrometer"} if a in sizes else {})
            for a in axes
        ],
        "datasets": [
            {
                "path": str(n),
                "coordinateTransformations": [
                    {
                        "type": "scale",
                        "scale": [sizes[a] * 2**n if a in sizes else 1.0 for a in axes],
                    }
                ],
            }
            for n in range(len(levels))
        ],
    }
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
    if version == "0.4":
        group.attrs["multiscales"] = [multiscale | {"version": version}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [multiscale]}
    for n, level in enumerate(levels):
        array = group.create_array(str(n), shape=level.shape, dtype=level.dtype, chunks=level.shape)
        array[...] = level
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "czyx", "zyx"])
@pytest.mark.parametrize("name", ["a.ome.zarr", "a.zarr"])
def test_full_resolution_of_an_ome_zarr_is_read(
    tmp_path: Path, version: str, axes: str, name: str
) -> None:
    data = STACK[(0,) * (5 - len(axes))]
    path = ome_zarr(tmp_path / name, [data, data[..., ::2, ::2]], axes, version)
    header = read_header(path)
    assert header.shape == (1,) * (5 - len(axes)) + data.shape and header.dtype == "uint16"
    assert header.spacing_um == (2.0, 0.5, 0.25)
    image = read_image(path, channel=-1 + header.shape[1], time=0)
    np.testing.assert_array_equal(image.data[0], data.reshape(header.shape)[0, -1])
    np.testing.assert_array_equal(
        read_labels(path, channel=0, time=0), data.reshape(header.shape)[0, 0]
    )
    assert list_images(tmp_path) == list_images(path) == [path]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_inside_an_ome_zarr_are_read(tmp_path: Path, version: str) -> None:
    path = ome_zarr(tmp_path / "a.ome.zarr", [STACK[0]], "czyx", version)
    labels = ome_zarr(path / "labels" / "nuclei", [STACK[0, 0] % 3], "zyx", version)
    assert read_header(labels).spacing_um == (2.0, 0.5, 0.25)
    np.testing.assert_array_equal(read_labels(labels), STACK[0, 0] % 3)
    (tmp_path / "b.zarr").mkdir()
    for folder in ("b.zarr", "none.zarr"):
        with pytest.raises(ImageError, match=f"{folder}: (cannot be read|no such file)"):
            read_image(tmp_path / folder)


def test_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 999, (4, 30, 30), np.uint16)
    files = {}
    for name, pixels, spacing, channels in (
        ("one", data, (2.0, 0.5, 0.5), ["DNA"]),
        ("same", np.asfortranarray(data), (2.0, 0.5, 0.5), ["DNA"]),
        ("pixels", data + 1, (2.0, 0.5, 0.5), ["DNA"]),
        ("spacing", data, (2.0, 0.5, 0.4), ["DNA"]),
        ("channel", data, (2.0, 0.5, 0.5), ["RNA"]),
    ):
        path = tmp_path / f"{name}.ome.tif"
        write_image(path, pixels, "ZYX", spacing, channels)
        files[name] = path.read_bytes()
    assert files["one"] == files.pop("same")
    uuids = {content.split(b"urn:uuid:")[1][:36] for content in files.values()}
    assert len(uuids) == len(files) == 4


@pytest.mark.realdata
def test_real_hdf5_has_raw_and_labels(real_data: Path) -> None:
    for path in sorted((real_data / "ovules").glob("*.h5")):
        header = read_header(path, "raw")
        assert header.scenes == ("label", "raw") and header.spacing_um is not None
        assert read_image(path, scene="raw").data[0].shape == header.spatial
        assert read_labels(path, scene="label").max() > 1


@pytest.mark.realdata
def test_real_czi_without_a_scale_is_read(real_data: Path) -> None:
    path = real_data / "formats" / "czi" / "DAPI_GFP.czi"
    assert read_header(path).spacing_um is None
    assert read_image(path).data.shape == (2, 640, 640)


@pytest.mark.realdata
def test_czi_is_decoded_plane_by_plane(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioio_czi.aicspylibczi_reader.reader import Reader

    path = real_data / "formats" / "czi" / "CellDivision_T3_Z5_CH2_X240_Y170.czi"
    whole = read_image(path, time=1).data
    decode, decoded = Reader._read_chunk_from_image, []

    def note(*args: Any, read_dims: dict[str, int], **kwargs: Any) -> np.ndarray:
        decoded.append(read_dims)
        return decode(*args, read_dims=read_dims, **kwargs)

    monkeypatch.setattr(Reader, "_read_chunk_from_image", note)
    pixels = open_pixels(path, "1", time=1, in_memory=0)
    found = pixels.read((slice(2, 4), slice(10, 50), slice(0, 30)))
    np.testing.assert_array_equal(found, whole[1:2, 2:4, 10:50, :30])
    assert sorted((one["Z"], one["C"], one["T"]) for one in decoded) == [(2, 1, 1), (3, 1, 1)]


@pytest.mark.parametrize("shape", [(3, 515, 1026), (1027, 64), (70, 513, 16)])
def test_levels_of_a_written_pyramid_are_aligned_with_the_image(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    sizes = (1.75, 0.8, 0.3)
    for axis in range(len(shape)):
        step = sizes[-len(shape) :][axis]
        place = np.indices(shape, np.uint16)[axis]  # each voxel holds its own index
        path = tmp_path / f"{axis}.ome.zarr"
        write_zarr(path, place, "ZYX"[-len(shape) :], sizes)
        stored = zarr.open_group(path, mode="r")
        levels = stored.attrs["multiscales"][0]["datasets"]
        assert len(levels) > 1
        for level in levels:
            scale = level["coordinateTransformations"][0]["scale"]
            data = np.asarray(stored[level["path"]])
            np.testing.assert_allclose(scale[axis] * np.indices(data.shape)[axis], data * step)
            assert scale[-1] in [known[-1] for known in level_spacings(path) if known]
            assert data.dtype == place.dtype


def test_colours_of_a_czi_are_red_green_blue(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)  # blue, green, red
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(pixels)
    image = read_image(tmp_path / "a.czi")
    assert image.channels == ("sample 0", "sample 1", "sample 2")
    np.testing.assert_array_equal(image.data, np.moveaxis(pixels[..., ::-1], -1, 0))
    green = open_pixels(tmp_path / "a.czi", channel=1, in_memory=0)
    box = (slice(3, 9), slice(5, 20))
    np.testing.assert_array_equal(green.read(box)[0], pixels[(*box, 1)])
    with pytest.raises(ImageError, match="3 channels"):
        read_labels(tmp_path / "a.czi")


def test_labels_in_czi_are_curated(tmp_path: Path, blobs: Callable) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    truth = {}
    for number in range(3):
        raw, labels = blobs((40, 50), 4, number)
        truth[f"a{number}"] = labels
        for kind, pixels in (("raw", raw), ("seg", labels)):
            (tmp_path / kind).mkdir(exist_ok=True)
            with czi.create_czi(str(tmp_path / kind / f"a{number}.czi")) as file:
                file.write(pixels[..., None])
        found = read_labels(tmp_path / "seg" / f"a{number}.czi")
        np.testing.assert_array_equal(found, labels)
    words = [f"raw={tmp_path}/raw", f"seg1={tmp_path}/seg", f"output={tmp_path}/ds"]
    assert main(["curate", *words]) == 0
    for row in read_manifest(tmp_path / "ds/dataset.csv").rows:
        target, valid = read_target(row)
        np.testing.assert_array_equal(target, truth[row.id])
        assert valid.all() and row.values["seg1"].endswith(".czi")


def test_axes_that_bioio_would_drop_are_refused_or_named(tmp_path: Path) -> None:
    import xarray as xr

    from cytoloop.io.readers.bioio import BioioReader
    from cytoloop.io.readers.scene import OpenScene

    class Plugin:
        """A reader of bioio for a file with 4 phases (H) and 2 views (V)."""

        scenes = ("only",)
        channel_names = None
        physical_pixel_sizes = None
        resolution_levels = (0,)

        def __init__(self) -> None:
            import dask.array

            data = dask.array.from_array(np.arange(2 * 4 * 5 * 6 * 7).reshape(2, 4, 5, 6, 7))
            self.xarray_dask_data = xr.DataArray(data, dims=list("VHZYX"))
            self.dims = type("Dims", (), {"order": "VHZYX"})

        def set_scene(self, scene: int) -> None:
            return

    scene = BioioReader("a.czi", Plugin()).open(0, 0)
    with pytest.raises(ImageError, match=r"unknown meaning: V \(2\), H \(4\).*V=2, H=4, Z=5"):
        OpenScene("a.czi", scene)
    named = OpenScene("a.czi", scene, "TCZYX")
    assert named.shape == (2, 4, 5, 6, 7)
    assert OpenScene("a.czi", scene, "CCZYX").shape == (1, 8, 5, 6, 7)
    found = named.read(1, [3], (slice(2, 3), slice(0, 6), slice(0, 7)))
    np.testing.assert_array_equal(found[0, 0], np.asarray(scene.array[1, 3, 2]))
